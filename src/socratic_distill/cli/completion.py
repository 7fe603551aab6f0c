"""`completion`: a script for a shell that completes commands and options. It is made from the parsers."""

import argparse
from typing import TYPE_CHECKING

from socratic_distill.cli.completion_scripts import SHELLS, Completed, Option
from socratic_distill.cli.printing import help_of
from socratic_distill.text import show

if TYPE_CHECKING:
    from socratic_distill.cli.options import Commands


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "completion",
        **help_of(
            "print a script that completes commands and options in a shell",
            "completion bash > ~/.local/share/bash-completion/completions/socratic-distill",
            "completion zsh > ~/.zfunc/_socratic-distill",
            "completion fish > ~/.config/fish/completions/socratic-distill.fish",
        ),
    )
    parser.add_argument("shell", choices=list(SHELLS), help="the shell")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Prints the script."""
    show(SHELLS[parsed.shell](commands_of(parsed.program)).rstrip("\n"))
    return 0


def commands_of(parser: argparse.ArgumentParser) -> list[Completed]:
    """The program itself, with an empty name, and its commands."""
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    helps = {choice.dest: choice.help or "" for choice in commands._choices_actions}
    program = Completed("", "", _options(parser))
    return [program, *(_completed(name, helps[name], command) for name, command in commands.choices.items())]


def _completed(name: str, about: str, parser: argparse.ArgumentParser) -> Completed:
    positionals = [action for action in parser._actions if not action.option_strings]
    arguments = tuple(tuple(map(str, action.choices or ())) for action in positionals)
    return Completed(name, about, _options(parser), arguments)


def _options(parser: argparse.ArgumentParser) -> tuple[Option, ...]:
    return tuple(
        Option(
            tuple(action.option_strings),
            action.help or "",
            takes_value=action.nargs != 0,
            words=tuple(str(choice) for choice in action.choices or ()),
        )
        for action in parser._actions
        if action.option_strings and action.help != argparse.SUPPRESS
    )
