"""`export`: a run's tutor, dialogues or figures for other programs."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socratic_distill.cli.options import add_options, allowed
from socratic_distill.cli.printing import help_of
from socratic_distill.config.log_path import given_file, given_path
from socratic_distill.text import show

if TYPE_CHECKING:
    from socratic_distill.cli.downloaded import DownloadedBytes
    from socratic_distill.cli.options import Commands
    from socratic_distill.outputs.exports import Choice, Exported
    from socratic_distill.outputs.exports.hub import Destination


_STEPS = re.compile(r"(\d*):(\d*)", re.ASCII)
# What goes with which of the outputs; None is an option that was not given.
_OPTIONS = {
    "checkpoint": ("adapter",),
    "program": ("adapter",),
    "base_url": ("adapter", "merge", "gguf"),
    "allow_server": ("adapter", "merge", "gguf"),
    "push": ("adapter", "merge"),
    "converter": ("gguf",),
    "dtype": ("merge", "gguf"),
    "allow_code": ("merge", "gguf"),
    "allow_files": ("adapter", "merge", "gguf", "messages", "dataset"),
    "solved": ("messages", "dataset"),
    "not_told": ("messages", "dataset"),
    "steps": ("messages", "dataset", "trace"),
    "system_prompt": ("messages", "dataset"),
    "tokens": ("dataset",),
}


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "export",
        **help_of(
            "write a run's tutor, dialogues or figures for other programs",
            "export runs/run-001 --adapter adapter --for vllm",
            "export runs/run-001 --merge model --dtype bfloat16",
            "export runs/run-001 --messages talks.jsonl --solved --not-told",
            "export runs/run-001 --trace trace.json --steps 10:20",
        ),
    )
    parser.add_argument(
        "source", type=given_path, metavar="LOG_PATH", help="directory of the run, its URL, or of saved weights"
    )
    _add_outputs(parser)
    parser.add_argument(
        "--steps",
        type=_steps,
        metavar="A:B",
        help="not with --adapter, --merge and --csv: only steps from A on and before B",
    )
    _add_options_of_models(parser)
    _add_options_of_dialogues(parser)
    _add_options_of_hubs(parser)
    add_options(parser, "base_url", "files", "code")
    parser.set_defaults(command=run, usage_error=parser.error)


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    outputs = parser.add_mutually_exclusive_group(required=True)
    outputs.add_argument(
        "--adapter",
        type=given_file,
        metavar="OUT",
        help="the tutor as a PEFT directory, of any run",
    )
    outputs.add_argument(
        "--merge", type=given_file, metavar="OUT", help="the tutor as a plain transformers model, of any run"
    )
    outputs.add_argument(
        "--gguf", type=given_file, metavar="FILE", help="the same in one file for llama.cpp, by llama.cpp's converter"
    )
    outputs.add_argument(
        "--messages", type=given_file, metavar="FILE", help="dialogues as OpenAI-style messages (JSONL)"
    )
    outputs.add_argument(
        "--dataset", type=given_file, metavar="DIR", help="dialogues as a Hugging Face datasets folder"
    )
    outputs.add_argument("--csv", type=given_file, metavar="FILE", help="metrics.jsonl as a table")
    outputs.add_argument(
        "--trace", type=given_file, metavar="FILE", help="when each request was under way, for ui.perfetto.dev"
    )


def _add_options_of_models(parser: argparse.ArgumentParser) -> None:
    fetching = parser.add_argument_group("with --adapter")
    fetching.add_argument("--checkpoint", metavar="NAME", help="name of a checkpoint; the default is the newest one")
    fetching.add_argument(
        "--for",
        dest="program",
        choices=["vllm", "sglang", "transformers"],
        help="check that this program loads the adapter, and say how it is started with it",
    )
    merging = parser.add_argument_group("with --merge and --gguf")
    merging.add_argument(
        "--dtype",
        choices=["auto", "float32", "bfloat16"],
        help="of what is written; auto, the default: as the base model is stored; in GGUF 16 bits",
    )
    merging.add_argument(
        "--converter",
        type=given_file,
        metavar="PATH",
        help="with --gguf: llama.cpp's convert_hf_to_gguf.py; the default is the one that is installed here",
    )


def _add_options_of_dialogues(parser: argparse.ArgumentParser) -> None:
    talks = parser.add_argument_group("with --messages and --dataset")
    talks.add_argument("--solved", action="store_true", default=None, help="only what the student solved, told or not")
    talks.add_argument(
        "--not-told", action="store_true", default=None, help="only what holds the answer in no tutor turn"
    )
    talks.add_argument(
        "--system-prompt", action="store_true", default=None, help="begin with the tutor's prompt and the problem"
    )
    talks.add_argument(
        "--tokens", action="store_true", default=None, help="with --dataset: tokens and log-probabilities too"
    )


def _add_options_of_hubs(parser: argparse.ArgumentParser) -> None:
    pushing = parser.add_argument_group("to a model hub, with --adapter and --merge")
    pushing.add_argument("--push", metavar="REPO", help="upload what was written, to owner/name; private if it is new")
    pushing.add_argument("--public", action="store_true", default=None, help="everyone may see the repository")
    pushing.add_argument("--revision", metavar="BRANCH", help="of the repository; the default is main")
    pushing.add_argument(
        "--dry-run", action="store_true", default=None, help="write the export and say what would be sent; send nothing"
    )


def run(parsed: argparse.Namespace) -> int:
    """Writes the one output that was asked for."""
    write = {
        "adapter": _adapter,
        "merge": _merge,
        "gguf": _gguf,
        "messages": _messages,
        "dataset": _dataset,
        "csv": _csv,
        "trace": _trace,
    }
    output = next(name for name in write if getattr(parsed, name) is not None)
    for option, outputs in _OPTIONS.items():
        if getattr(parsed, option) is not None and output not in outputs:
            flag = "for" if option == "program" else option.replace("_", "-")
            parsed.usage_error(
                f"--{flag} goes with {' or '.join(f'--{name}' for name in outputs)}, not with --{output}"
            )
    for option in ("public", "revision", "dry_run"):
        if getattr(parsed, option) is not None and parsed.push is None:
            parsed.usage_error(f"--{option.replace('_', '-')} goes with --push")
    destination = _destination(parsed)
    write[output](parsed)
    if destination is not None:
        _push(getattr(parsed, output), destination, is_dry=bool(parsed.dry_run))
    return 0


def _destination(parsed: argparse.Namespace) -> "Destination | None":
    """Where the export is to be pushed, asked for before it is made, which may take hours."""
    if parsed.push is None:
        return None
    from socratic_distill.outputs.exports.hub import check_destination, choose_destination

    chosen = choose_destination(parsed.push, private=not parsed.public, revision=parsed.revision)
    return chosen if parsed.dry_run else check_destination(chosen)


def _push(directory: Path, destination: "Destination", *, is_dry: bool) -> None:
    from socratic_distill.outputs.exports.hub import described, push

    if is_dry:
        show(f"a dry run, nothing is sent: {described(directory, destination)}")
    else:
        show(f"pushed: {push(directory, destination, show)}")


def _adapter(parsed: argparse.Namespace) -> None:
    from socratic_distill.outputs.exports.adapter import export_adapter
    from socratic_distill.outputs.exports.card import CARD, write_card

    given = allowed(parsed)
    url, files = given.get("base_url"), bool(parsed.allow_files)
    with _bars() as progress:
        adapter = export_adapter(
            parsed.source, parsed.adapter, name=parsed.checkpoint, base_url=url, allow_files=files, progress=progress
        )
    show(f"{adapter}, is in {parsed.adapter}")
    if parsed.push is not None and not (parsed.adapter / CARD).exists():
        run = None if adapter.name is None else parsed.source
        write_card(parsed.adapter, "adapter", adapter.base_model, run, batch=adapter.batch, allow_files=files)
    if parsed.program is not None:
        from socratic_distill.outputs.exports.programs import fit_adapter

        show(fit_adapter(parsed.adapter, parsed.program, allow_files=files))


def _merge(parsed: argparse.Namespace) -> None:
    from socratic_distill.outputs.exports.merged import export_merged

    with _bars() as progress:
        merged = export_merged(
            parsed.source, parsed.merge, parsed.dtype or "auto", progress=progress, **_merging(parsed)
        )
    show(f"{merged}, merged into its base model, is in {parsed.merge}")


def _gguf(parsed: argparse.Namespace) -> None:
    from socratic_distill.outputs.exports.gguf import export_gguf

    own = {"converter": parsed.converter, **_merging(parsed)}
    with _bars() as progress:
        merged = export_gguf(parsed.source, parsed.gguf, parsed.dtype or "auto", progress=progress, **own)
    show(f"{merged}, merged into its base model, is in {parsed.gguf}")


def _merging(parsed: argparse.Namespace) -> dict[str, Any]:
    """What the user allows, as the exports that merge take it."""
    given = allowed(parsed)
    return {name: given.get(name) for name in ("base_url", "allow_files", "allow_code")}


def _bars() -> "DownloadedBytes":
    from socratic_distill.cli.downloaded import DownloadedBytes
    from socratic_distill.outputs.display.console import TextConsole

    return DownloadedBytes(TextConsole(stderr=True))


def _messages(parsed: argparse.Namespace) -> None:
    from socratic_distill.outputs.exports import export_messages

    options = {"system_prompt": bool(parsed.system_prompt), "allow_files": bool(parsed.allow_files)}
    _show_count(export_messages(parsed.source, parsed.messages, _choice(parsed), **options), parsed.messages)


def _dataset(parsed: argparse.Namespace) -> None:
    from socratic_distill.outputs.exports import export_dataset

    options = {"system_prompt": bool(parsed.system_prompt), "tokens": bool(parsed.tokens)}
    options["allow_files"] = bool(parsed.allow_files)
    _show_count(export_dataset(parsed.source, parsed.dataset, _choice(parsed), **options), parsed.dataset)


def _csv(parsed: argparse.Namespace) -> None:
    from socratic_distill.outputs.exports import export_csv

    show(f"{export_csv(parsed.source, parsed.csv)} steps are in {parsed.csv}")


def _trace(parsed: argparse.Namespace) -> None:
    from socratic_distill.outputs.exports import export_trace

    first, stop = parsed.steps or (0, None)
    count = export_trace(parsed.source, parsed.trace, first, stop)
    show(f"{count} steps are in {parsed.trace}; open it in ui.perfetto.dev or chrome://tracing")


def _choice(parsed: argparse.Namespace) -> "Choice":
    from socratic_distill.outputs.exports import Choice

    first, stop = parsed.steps or (0, None)
    return Choice(bool(parsed.solved), bool(parsed.not_told), first, stop)


def _show_count(exported: "Exported", out: Path) -> None:
    why = f"{exported.left_out} failed, are recorded or have a side that says nothing"
    rest = [f"{exported.not_chosen} not chosen"] * bool(exported.not_chosen) + [why] * bool(exported.left_out)
    show(f"{exported.written} dialogues are in {out}" + (f" (left out: {'; '.join(rest)})" if rest else ""))


def _steps(text: str) -> tuple[int, int | None]:
    """`A:B` as the first step and the one to stop before."""
    match = _STEPS.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no A:B, such as 10:20, 10: or :20")
    first, stop = match.groups()
    return int(first or 0), int(stop) if stop else None
