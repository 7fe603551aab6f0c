"""The packaged list of the prices of the service's models."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Self

from socratic_distill.config.parts import Price
from socratic_distill.errors import ConfigError

_UNIT = "USD per million tokens"


@dataclass(frozen=True)
class PriceList:
    """Prices by model.

    Attributes:
        date: month of the prices, such as "2026-01".
        source: where the prices are from.
        models: prices by full model name, USD per million tokens.
        cached_prefill_share: price of a cached prompt token as a share of `prefill`, for models that do not set it.
    """

    date: str
    source: str
    models: Mapping[str, Price]
    cached_prefill_share: float

    def price(self, model_name: str) -> Price | None:
        """A model's price, with its `cached_prefill` filled in; None for a model that is not in the list.

        Args:
            model_name: its full name.
        """
        price = self.models.get(model_name)
        if price is None or price.cached_prefill is not None:
            return price
        return price.model_copy(update={"cached_prefill": self.cached_prefill_share * price.prefill})

    def with_own(self, models: Mapping[str, Price]) -> Self:
        """The list with prices of models added; they replace prices that it has already."""
        return replace(self, models={**self.models, **models})

    def without_models(self) -> Self:
        """The list without its models, for a service to which its prices do not apply."""
        return replace(self, models={})


@cache
def packaged_prices() -> PriceList:
    """The list that comes with the package."""
    with as_file(files("socratic_distill.cost") / "prices.json") as path:
        return read_prices(path)


def read_prices(path: Path) -> PriceList:
    """A price list from a JSON file.

    Raises:
        ConfigError: the file cannot be read, or is not a price list.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a price list: {error}; expected a JSON file") from error
    if not isinstance(stored, dict):
        raise ConfigError(f"{path} holds a {type(stored).__name__}; expected a price list, a JSON object")
    if stored.get("unit") != _UNIT:
        raise ConfigError(f"{path}: unit={stored.get('unit')!r}; expected {_UNIT!r}")
    share = stored.get("cached_prefill_share")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ConfigError(f"{path}: cached_prefill_share={share!r}; expected a number from 0 to 1")
    models = {name: _price(path, name, fields) for name, fields in _object(path, stored, "models").items()}
    return PriceList(_text(path, stored, "date"), _text(path, stored, "source"), models, share)


def _text(path: Path, stored: Mapping[str, Any], key: str) -> str:
    value = stored.get(key)
    if not isinstance(value, str):
        raise ConfigError(f"{path}: {key}={value!r}; expected a text")
    return value


def _object(path: Path, stored: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = stored.get(key)
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: {key}={value!r}; expected an object, full model names to prices")
    return value


def _price(path: Path, name: str, fields: Any) -> Price:
    if not isinstance(fields, dict):
        raise ConfigError(f"{path}: the price of {name} is {fields!r}; expected prefill, sample and train")
    try:
        return Price(**fields)
    except ConfigError as error:
        raise ConfigError(f"{path}: the price of {name}: {error}") from None
