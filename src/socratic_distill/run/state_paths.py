"""The training state that a `load_checkpoint_path` means, in every form that people paste."""

from pathlib import Path

from socratic_distill.config.log_path import is_url
from socratic_distill.config.paths import resolved
from socratic_distill.errors import CheckpointNotFound
from socratic_distill.local.saved_paths import is_foreign, present_path
from socratic_distill.run.journal import Journal
from socratic_distill.run.layout import JOURNAL, journal_file
from socratic_distill.run.record import CheckpointRecord
from socratic_distill.run.spoilt_rows import first_spoilt_step
from socratic_distill.service.paths import _TINKER
from socratic_distill.text import get_logger, refuse_secrets

_log = get_logger(__name__)


def resolve_state_path(given: str) -> str:
    """The training state that a `load_checkpoint_path` means.

    Raises:
        CheckpointNotFound: it leads to no training state, or is a URL with a password in it.
    """
    try:
        refuse_secrets(given)
    except ValueError as error:
        raise CheckpointNotFound(f"load_checkpoint_path: {error}") from None
    if given.startswith("tinker://"):
        return _resolve_tinker_path(given)
    if is_url(given):
        url, _, name = given.partition("#")
        return _resolve_journal(journal_file(url), name or None, url)
    path, name = resolved(given), ""
    if not Path(path).exists() and "#" in path:  # a directory may have it in its name
        path, _, name = path.rpartition("#")
    if Path(path).suffix == ".jsonl" or (Path(path) / JOURNAL).is_file():
        return _resolve_journal(journal_file(path), name or None)
    if Path(path).is_dir() and not name:
        return _resolve_weights_directory(Path(path))
    raise CheckpointNotFound(
        f"load_checkpoint_path={given!r} is none of: tinker://<server run>/weights/<name>, a checkpoints.jsonl "
        "(or the directory that holds one), a local engine's weights directory, a directory with a LoRA of peft"
    )


def _resolve_tinker_path(given: str) -> str:
    match = _TINKER.fullmatch(given)
    if match is None:
        raise CheckpointNotFound(
            f"load_checkpoint_path={given!r} is no checkpoint path; expected tinker://<server run>/weights/<name>"
        )
    if match["kind"] is None and match["name"] in ("weights", "sampler_weights"):
        raise CheckpointNotFound(f"load_checkpoint_path={given!r} lacks the name of a state: {given}/<name>")
    full = f"tinker://{match['run']}/weights/{match['name']}"
    if match["kind"] == "weights":
        return given
    if match["kind"] is None:
        _log.info("load_checkpoint_path=%s is read as %s", given, full)
        return full
    if match["kind"] == "sampler_weights":
        raise CheckpointNotFound(
            f"load_checkpoint_path={given!r} holds sampler weights, which cannot be trained from. The training "
            f"state of the same name, if the run saved one, is {full}"
        )
    raise CheckpointNotFound(f"load_checkpoint_path={given!r}: expected …/weights/…, not {match['kind']!r}")


def _resolve_journal(path: Path, name: str | None, shown: str | None = None) -> str:
    shown = shown or str(path)
    if not path.is_file():
        raise CheckpointNotFound(f"load_checkpoint_path: there is no file {shown}")
    journal = Journal.read(path)
    states = [record for record in journal.records() if record.state_path and record.state_path not in journal.deleted]
    if name is not None:
        states = [record for record in states if record.name == name]
    if not states:
        wanted = "no record with a state" if name is None else f"no state named {name!r}"
        raise CheckpointNotFound(f"load_checkpoint_path: {shown} holds {wanted}")
    # Without a batch the order of the lines is all there is; a state can be built on without one.
    spoilt = first_spoilt_step(path.parent) if name is None else None  # a name is the user's own choice
    newest = journal.newest_state(lambda record: _why_not(record, name, spoilt)) or states[-1]
    if spoilt is not None and (newest.batch or 0) > spoilt:
        raise CheckpointNotFound(
            f"load_checkpoint_path: {shown} holds only states whose weights may be damaged, since the figures of step "
            f"{spoilt} are not finite. Name a state that is not, as in {shown}#<name>"
        )
    assert newest.state_path is not None
    return present_path(path.parent, newest.state_path)


def _why_not(record: CheckpointRecord, name: str | None, spoilt: int | None) -> str | None:
    """Why a state is not the one that is meant; None if it may be."""
    if name not in (None, record.name):
        return "of another name"
    return "damaged" if spoilt is not None and (record.batch or 0) > spoilt else None


def _resolve_weights_directory(path: Path) -> str:
    path = path.resolve()
    if path.parent.name == "sampler_weights":
        twin = path.parent.parent / "weights" / path.name
        hint = f"The state of the same name is {twin}" if twin.is_dir() else "No state of that name was saved"
        raise CheckpointNotFound(
            f"load_checkpoint_path={str(path)!r} holds sampler weights, which cannot be trained from. {hint}"
        )
    if not ((path / "state.json").is_file() or is_foreign(path)):
        raise CheckpointNotFound(
            f"load_checkpoint_path={str(path)!r} is a directory without checkpoints.jsonl, state.json or "
            "adapter_config.json; expected a run directory, a weights directory of the local engine, or a LoRA that "
            "peft saved"
        )
    return str(path)
