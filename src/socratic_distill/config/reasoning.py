"""How a model's chat template is asked for reasoning: one word in a config, other variables in each template. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from socratic_distill.config.catalogue import catalogue
from socratic_distill.config.model_names import full_model_name
from socratic_distill.config.values import Reasoning
from socratic_distill.errors import ConfigError


@dataclass(frozen=True)
class TemplateChoice:
    """What a config says about how a role's messages are rendered.

    Attributes:
        enable_thinking: the variable of this name, which a template may ignore; used where `reasoning` is None.
        reasoning: "off", "on", or how much; None: `enable_thinking` alone.
        options: other variables of the template, by name.
        file: a file with the template. None: the model's own.
    """

    enable_thinking: bool = False
    reasoning: Reasoning | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    file: str | None = None

    def variables(self, model_name: str) -> dict[str, Any]:
        """The variables that a model's template is rendered with.

        Raises:
            ConfigError: the model's template is known not to have this level of reasoning.
        """
        if self.reasoning is None:
            return {"enable_thinking": self.enable_thinking, **self.options}
        levels = _levels(model_name)
        if self.reasoning not in levels:
            known = ", ".join(map(repr, levels)) or "no level that is known"
            raise ConfigError(
                f"reasoning={self.reasoning!r} is no level of {model_name!r}, whose template has {known}; "
                "take one of those, or set its template's own variables in template_options"
            )
        return {**levels[self.reasoning], **self.options}

    def needed(self, model_name: str) -> frozenset[str]:
        """Names of variables without which a template would not do what the config says."""
        if self.reasoning is None:
            return frozenset(self.options)
        asked = set(_levels(model_name).get(self.reasoning, ()))
        # A template with levels of effort may have no switch.
        return frozenset(asked - {"enable_thinking"} if len(asked) > 1 else asked) | frozenset(self.options)


AS_IT_COMES = TemplateChoice()
"""A template rendered without reasoning, and otherwise as it comes."""


def _levels(model_name: str) -> Mapping[str, Mapping[str, Any]]:
    """The levels of a model's template; of a model that the table lacks, those of the most common variables."""
    known = catalogue().find(full_model_name(model_name))
    if known is not None:
        return catalogue().switches.get(known.reasoning or "", {})
    efforts = [level for level in get_args(Reasoning) if level not in ("off", "on")]
    return {
        **catalogue().switches["enable_thinking"],
        **{level: {"enable_thinking": True, "reasoning_effort": level} for level in efforts},
    }
