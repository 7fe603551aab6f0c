"""The typed config of a run, validated when it is built.

Building a config only checks whether the files that it names exist. It uses no network and loads no model.
"""

from typing import TYPE_CHECKING, Any, Self

from pydantic import PrivateAttr, ValidationError, field_validator, model_validator

from socratic_distill.config.display import Shortened, config_html
from socratic_distill.config.grant import Grant
from socratic_distill.config.known_servers import server_root
from socratic_distill.config.messages import hints_for, plain, problems_of, unknown_text
from socratic_distill.config.paths import STORED_AS, stored_paths
from socratic_distill.config.rules import check_fields
from socratic_distill.config.sections import Fields
from socratic_distill.errors import ConfigError
from socratic_distill.text import get_logger, without_user

_log = get_logger(__name__)


class SocraticConfig(Shortened, Fields):
    """Everything that decides what a run does. Frozen; unknown fields are refused."""

    _grant: Grant | None = PrivateAttr(None)

    if not TYPE_CHECKING:  # type checkers keep pydantic's own signature, with every field

        def __init__(self, /, **data: Any) -> None:
            """Checks each field and the rules between fields.

            Args:
                **data: the fields, as described in the sections; from a run's config.json also its resolved paths.

            Raises:
                ConfigError: a field is unknown, or has an invalid value.
            """
            stored = data.pop(STORED_AS, None)
            hints = hints_for(data, type(self).model_fields)
            texts = [unknown_text(hints)] if hints else []
            problems = [((name,), unknown_text({name: hint})) for name, hint in hints.items()]
            data = plain({name: value for name, value in data.items() if name not in hints})
            try:
                with stored_paths(stored):
                    super().__init__(**data)
            except ValidationError as error:
                others = problems_of(error, type(self))
                texts, problems = [*texts, *(text for _, text in others)], [*problems, *others]
            # Raised outside the handler, since pydantic's error as its context would show the values that were given.
            if problems:
                refusal = ConfigError("; ".join(texts))
                refusal.problems = tuple(problems)
                raise refusal

    @property
    def grant(self) -> Grant | None:
        """What a config that was read from a file may do; None: a script built the config, which may do anything."""
        return self._grant

    def granted(self, grant: Grant | None) -> Self:
        """The same config with another grant.

        Args:
            grant: what it may do.
        """
        copy = self.model_copy()
        copy._grant = grant
        return copy

    def __eq__(self, other: object) -> bool:
        """Whether all fields are equal; the grant does not count."""
        return type(self) is type(other) and vars(self) == vars(other)

    def _repr_html_(self) -> str:
        """The changed fields as a table, for notebooks; the defaults are folded."""
        return config_html(self)

    @field_validator("base_url", mode="before")
    @classmethod
    def _plain_server(cls, url: Any) -> Any:
        """Drops user and password, which every file and message would show, and the path that the SDK adds itself."""
        if not isinstance(url, str):
            return url
        plain = without_user(url)
        if plain != url:
            _log.warning("base_url: the user and password before the host are left out; the key is TINKER_API_KEY")
        root = server_root(plain)
        if root not in (plain, plain.rstrip("/")):
            _log.info("base_url: %s is used, since the SDK adds /api/v1 itself", root)
        return root

    @model_validator(mode="after")
    def _check_fields_together(self) -> Self:
        check_fields(self)
        return self
