"""`models`: what a service offers, and what is known of its models."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from socratic_distill.cli.options import add_options, allowed
from socratic_distill.cli.printing import help_of, table_console
from socratic_distill.text import show

if TYPE_CHECKING:
    from rich.table import Table

    from socratic_distill.cli.options import Commands
    from socratic_distill.config.config import SocraticConfig
    from socratic_distill.service.offer import OfferedModel


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "models",
        **help_of(
            "list what a service offers, with prices and what else is known of its models",
            "models",
            "models --known",
            "models --base-url http://gpu-box:8000 --json",
        ),
    )
    parser.add_argument(
        "--known", action="store_true", help="list the packaged table alone, retired models too; asks no service"
    )
    parser.add_argument("--json", action="store_true", help="list for programs")
    add_options(parser, "base_url")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Asks the service for its list, which is never billed, and prints it with what the packaged table knows."""
    rows = _known_rows() if parsed.known else _offered_rows(allowed(parsed).get("base_url"))
    if parsed.json:
        show(json.dumps(rows, indent=2))
        return 0
    table_console().print(_table(rows))
    if any(row["usd_per_million"] for row in rows):
        show("Prices: USD per million tokens of prefill / sample / train, from the packaged table; they move.")
    return 0


def _known_rows() -> list[dict[str, Any]]:
    from socratic_distill.config.catalogue import catalogue

    return [_row(name, None) for name in catalogue().models]


def _offered_rows(base_url: str | None) -> list[dict[str, Any]]:
    from socratic_distill.errors import ConfigError, ServiceError
    from socratic_distill.service.connect import open_service
    from socratic_distill.service.offer import read_offer
    from socratic_distill.service.waiting import run_blocking

    try:
        rest = open_service(_config_for(base_url)).rest
    except ConfigError as error:
        raise ConfigError(f"{error.args[0]}. Or list the packaged table, without asking: models --known") from error
    offer = run_blocking(lambda: read_offer(rest), "read_offer")
    if offer is None:
        raise ServiceError("the service does not say which models it offers; --known lists the packaged table")
    return [_row(model.name, model) for model in sorted(offer.models, key=lambda model: model.name.casefold())]


def _config_for(base_url: str | None) -> "SocraticConfig":
    """A config that names the service alone; the other fields are never used."""
    from socratic_distill.config.config import SocraticConfig

    names = dict.fromkeys(("tutor_model_name", "student_model_name", "teacher_model_name"), "none")
    return SocraticConfig(**names, max_tokens=1, learning_rate=1.0, log_path="none", base_url=base_url)


def _row(name: str, offered: "OfferedModel | None") -> dict[str, Any]:
    """What the service says of a model, and what the table says of it."""
    from socratic_distill.config.catalogue import catalogue

    known, price = catalogue().find(name), catalogue().price(name)
    return {
        "model": name,
        "context": None if offered is None else offered.context,
        "trainable": None if offered is None else offered.trainable,
        "sampleable": None if offered is None else offered.sampleable,
        "vocabulary": None if known is None else known.vocabulary,
        "reasoning": None if known is None else known.reasoning,
        "retired": None if known is None else known.retired,
        "successor": None if known is None else known.successor,
        "usd_per_million": None if price is None else price.price.model_dump(include={"prefill", "sample", "train"}),
        "price_date": None if price is None else price.date,
    }


def _table(rows: list[dict[str, Any]]) -> "Table":
    from rich.table import Table

    table = Table("model", "context", "trains", "vocabulary", "reasoning", "USD", "of", "retired", header_style="none")
    for row in rows:
        prices = row["usd_per_million"]
        retired = "" if row["retired"] is None else f"{row['retired']}, now {row['successor']}"
        table.add_row(
            row["model"],
            _said(row["context"]),
            _said(row["trainable"]),
            row["vocabulary"] or "",
            row["reasoning"] or "",
            "" if prices is None else " / ".join(f"{usd:g}" for usd in prices.values()),
            row["price_date"] or "",
            retired,
        )
    return table


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
