"""The models that this version knows: the table in `models.json`. What a service offers, the service says.

The table says what no service tells: which models share a vocabulary, how their reasoning is switched, what took the
place of a retired model, and list prices with their date.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from socratic_distill.config.parts import Price


@dataclass(frozen=True)
class KnownPrice:
    """A list price.

    Attributes:
        price: USD per million tokens, with `cached_prefill` filled in.
        date: month that it is of, such as "2026-10".
        source: where it is from.
    """

    price: Price
    date: str
    source: str


@dataclass(frozen=True)
class KnownModel:
    """What is known of a model of the hosted service.

    Attributes:
        name: full name.
        billions: its parameters, in billions, all experts counted.
        vocabulary: models with the same one split every text alike; None: not known.
        reasoning: how its chat template is asked for reasoning, a key of `Catalogue.switches`; None: not known.
        template: package that renders its messages, for a model without a jinja template; else None.
        retired: day or month since which it is not offered; None: it was offered in the table's newest month.
        successor: full name of the model that took its place; None for a model that is offered.
        price: its list price; None: not known.
        contexts: list prices of variants with a longer context, by their tokens.
    """

    name: str
    billions: float
    vocabulary: str | None = None
    reasoning: str | None = None
    template: str | None = None
    retired: str | None = None
    successor: str | None = None
    price: KnownPrice | None = None
    contexts: Mapping[int, KnownPrice] | None = None

    @property
    def short_name(self) -> str:
        """The name without its organisation."""
        return self.name.partition("/")[2]


@dataclass(frozen=True)
class Catalogue:
    """The table.

    Attributes:
        models: by full name.
        cached_share: price of a cached prompt token as a share of `prefill`, where it is not named.
        switches: by kind of template and level of reasoning, the variables that the template takes.
        slips: names that guides write and no model has, with the full names that they mean.
    """

    models: Mapping[str, KnownModel]
    cached_share: float
    switches: Mapping[str, Mapping[str, Mapping[str, Any]]]
    slips: Mapping[str, str]

    def find(self, name: str) -> KnownModel | None:
        """A model by its full name, or that of a variant with a longer context; None: not in the table."""
        return self.models.get(base_name(name))

    def price(self, name: str) -> KnownPrice | None:
        """The list price of a model or of a variant, by its full name; None: not known."""
        model, context = self.find(name), name.partition(":peft:")[2]
        if model is None:
            return None
        return (model.contexts or {}).get(int(context)) if context.isdecimal() else model.price


def base_name(name: str) -> str:
    """A model's name without the context variant: `Qwen/Qwen3.5-397B-A17B` for `…:peft:262144`."""
    return name.partition(":")[0]


@cache
def catalogue() -> Catalogue:
    """The table that comes with the package."""
    stored = json.loads((files("socratic_distill.config") / "models.json").read_text(encoding="utf-8"))
    share = stored["cached_prefill_share"]
    models = {name: _model(name, dict(fields), share) for name, fields in stored["models"].items()}
    return Catalogue(models, share, stored["switches"], stored["slips"])


def _model(name: str, fields: dict[str, Any], share: float) -> KnownModel:
    price, contexts = fields.pop("price", None), fields.pop("contexts", {})
    return KnownModel(
        name,
        **fields,
        price=None if price is None else _price(price, share),
        contexts={int(tokens): _price(of_variant, share) for tokens, of_variant in contexts.items()},
    )


def _price(fields: Mapping[str, Any], share: float) -> KnownPrice:
    # The service bills cached tokens at about this share; its list names no price for them.
    of_tokens = {"cached_prefill": share * fields["prefill"], **fields}
    date, source = of_tokens.pop("date"), of_tokens.pop("source")
    return KnownPrice(Price(**of_tokens), date, source)
