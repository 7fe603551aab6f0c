"""How commands print tables, and the examples in their help."""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from socratic_distill.outputs.display.console import TextConsole

# Wider than any table: rich pads nothing to this width.
_WIDE = 1000


def table_console() -> "TextConsole":
    """The console of a command: in a terminal as wide as that; in a file or a pipe lines are never broken or cut."""
    from socratic_distill.outputs.display.console import TextConsole

    console = TextConsole()
    return console if console.is_terminal else TextConsole(width=_WIDE)


def help_of(about: str, *examples: str) -> dict[str, Any]:
    """A command's help as keywords of `add_parser`.

    Args:
        about: what it does, in one phrase.
        *examples: command lines, without the program's name.
    """
    lines = "".join(f"  socratic-distill {example}\n" for example in examples)
    return {
        "help": about,
        "description": f"{about[0].upper()}{about[1:]}.",
        "epilog": f"examples:\n{lines}",
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
