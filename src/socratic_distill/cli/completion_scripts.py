"""Completion scripts of shells. Pure."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_PROGRAM = "socratic-distill"


@dataclass(frozen=True)
class Option:
    """An option.

    Attributes:
        flags: its names, such as `--json`.
        about: its help.
        takes_value: whether a value follows.
        words: the values, if only these are allowed.
    """

    flags: tuple[str, ...]
    about: str
    takes_value: bool
    words: tuple[str, ...]


@dataclass(frozen=True)
class Completed:
    """A command, or with an empty name the program itself.

    Attributes:
        name: of the command.
        about: its help.
        options: its options.
        arguments: of each argument the words that it allows; empty for a file or directory.
    """

    name: str
    about: str
    options: tuple[Option, ...]
    arguments: tuple[tuple[str, ...], ...] = ()

    @property
    def words(self) -> str:
        """All words that an argument allows."""
        return " ".join(word for words in self.arguments for word in words)

    @property
    def takes_files(self) -> bool:
        """Whether an argument may be a file or directory."""
        return () in self.arguments


def bash(commands: Sequence[Completed]) -> str:
    """The script for bash; it needs nothing of the package bash-completion."""
    program, *others = commands
    cases, values = [], []
    for command in others:
        flags = [flag for option in command.options for flag in option.flags]
        cases.append(f'    {command.name}) flags="{" ".join(flags)}"; words="{command.words}" ;;')
        for option in command.options:
            if option.takes_value:
                names = "|".join(f"{command.name}:{flag}" for flag in option.flags)
                reply = f'COMPREPLY=($(compgen -W "{" ".join(option.words)}" -- "$current"))' if option.words else ":"
                values.append(f"    {names}) {reply}; return ;;")
    names = " ".join(command.name for command in others)
    own = " ".join(flag for option in program.options for flag in option.flags)
    return "\n".join(
        [
            "# bash completion of socratic-distill",
            "_socratic_distill() {",
            '  local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" command="" word',
            '  local flags="" words=""',
            "  COMPREPLY=()",
            '  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
            '    if [[ "$word" != -* ]]; then command="$word"; break; fi',
            "  done",
            '  if [[ -z "$command" ]]; then',
            f'    COMPREPLY=($(compgen -W "{names} {own}" -- "$current"))',
            "    return",
            "  fi",
            '  case "$command:$before" in',
            *values,
            "  esac",
            '  case "$command" in',
            *cases,
            "  esac",
            '  if [[ "$current" == -* ]]; then',
            '    COMPREPLY=($(compgen -W "$flags" -- "$current"))',
            '  elif [[ -n "$words" ]]; then',
            '    COMPREPLY=($(compgen -W "$words" -- "$current"))',
            "  fi",
            "}",
            # Where nothing fits, bash completes file names.
            f"complete -o default -F _socratic_distill {_PROGRAM}",
            "",
        ]
    )


def zsh(commands: Sequence[Completed]) -> str:
    """The script for zsh, for a directory of `fpath`; it can be sourced too."""
    program, *others = commands
    lines = [f"#compdef {_PROGRAM}", "_socratic_distill() {", "  local -a commands", "  commands=("]
    lines += [f"    {_quoted(f'{command.name}:{command.about}')}" for command in others]
    lines += ["  )", "  if (( CURRENT == 2 )); then", "    _describe command commands"]
    lines += [f"    compadd -- {' '.join(flag for option in program.options for flag in option.flags)}", "    return"]
    lines += ["  fi", "  shift words; (( CURRENT-- ))", "  case $words[1] in"]
    for command in others:
        specs = [_zsh_option(option, flag) for option in command.options for flag in option.flags]
        for position, words in enumerate(command.arguments, start=1):
            specs.append(_quoted(f"{position}:argument:({' '.join(words)})") if words else f"{position}:file:_files")
        specs += ["'*:file:_files'"] if command.takes_files else []
        lines.append(f"    {command.name}) _arguments {' '.join(specs)} ;;")
    # From a directory of `fpath` zsh runs the file at the first completion; a sourced one only registers the function.
    lines += ["  esac", "}", f'if [[ "$funcstack[1]" == _{_PROGRAM} ]]; then _socratic_distill "$@"']
    lines += [f"else compdef _socratic_distill {_PROGRAM}; fi", ""]
    return "\n".join(lines)


def fish(commands: Sequence[Completed]) -> str:
    """The script for fish."""
    program, *others = commands
    lines = [f"# fish completion of {_PROGRAM}"]
    for option in program.options:
        lines.append(_fish(option, "__fish_use_subcommand"))
    for command in others:
        about = _quoted(command.about)
        lines.append(f"complete -c {_PROGRAM} -n __fish_use_subcommand -f -a {command.name} -d {about}")
        seen = f"__fish_seen_subcommand_from {command.name}"
        lines += [_fish(option, seen) for option in command.options]
        if command.arguments and not command.takes_files:
            lines.append(f"complete -c {_PROGRAM} -n {_quoted(seen)} -f")
        if command.words:
            lines.append(f"complete -c {_PROGRAM} -n {_quoted(seen)} -a {_quoted(command.words)}")
    return "\n".join([*lines, ""])


def _zsh_option(option: Option, flag: str) -> str:
    values = f"({' '.join(option.words)})" if option.words else "_files"
    about = re.sub(r"([\[\]:\\])", r"\\\1", option.about)
    return _quoted(f"*{flag}[{about}]" + (f":value:{values}" if option.takes_value else ""))


def _fish(option: Option, condition: str) -> str:
    names = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
    value = f" -x -a {_quoted(' '.join(option.words))}" if option.words else " -r" if option.takes_value else ""
    return f"complete -c {_PROGRAM} -n {_quoted(condition)} {names}{value} -d {_quoted(option.about)}"


def _quoted(text: str) -> str:
    """A text in single quotes; one that it holds becomes a typographic one, which every shell reads alike."""
    return "'" + text.replace("'", "\u2019") + "'"


SHELLS: dict[str, Callable[[Sequence[Completed]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
