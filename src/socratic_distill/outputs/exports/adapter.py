"""The tutor of a run as a PEFT directory: downloaded from the service, or copied from the local engine's weights."""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import time

from socratic_distill.config.grant import Grant
from socratic_distill.config.log_path import is_url
from socratic_distill.config.paths import resolved
from socratic_distill.errors import CheckpointNotFound, ConfigError, DamagedWeights, StorageError
from socratic_distill.files.durable import open_regular
from socratic_distill.local.model_files import base_of, model_folder, model_paths
from socratic_distill.local.saved_paths import STORE, own_weights, read_facts
from socratic_distill.outputs.exports.adapter_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, check_adapter
from socratic_distill.outputs.exports.fetched import DownloadProgress, Fetch, LoggedProgress, given_service
from socratic_distill.outputs.exports.tutors import SavedTutor, newer_samplers, saved_tutors
from socratic_distill.outputs.exports.unfinished import check_absent, unfinished
from socratic_distill.run.cloud.reading import readable
from socratic_distill.run.directory import config_of, load_config
from socratic_distill.run.finding import check_run
from socratic_distill.run.layout import BESIDE_ANOTHER, CONFIG, JOURNAL, METRICS, RUN
from socratic_distill.service.interface import RestClient, ServiceClient
from socratic_distill.service.waiting import in_thread, run_interruptible

_READ = {BESIDE_ANOTHER, CONFIG, JOURNAL, METRICS, RUN}


@dataclass(frozen=True)
class ExportedAdapter:
    """An adapter that was written.

    Attributes:
        directory: what `PeftModel.from_pretrained` opens.
        weights: what it was made from: a training state on a service, or a directory of the local engine.
        name: name of the checkpoint; None for a directory of saved weights.
        batch: batches that the run had finished; None if that is unknown.
        base_model: name or path of the model that it belongs to.
    """

    directory: Path
    weights: str
    name: str | None
    batch: int | None
    base_model: str

    def __str__(self) -> str:
        """What was exported, for people."""
        when = "" if self.batch is None else f" after {self.batch} {'step' if self.batch == 1 else 'steps'}"
        return f"the tutor{when}{f' (checkpoint {self.name!r})' if self.name else ''}, an adapter of {self.base_model}"


def export_adapter(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    name: str | None = None,
    base_url: str | None = None,
    allow_files: bool = False,
    service_client: ServiceClient | None = None,
    rest_client: RestClient | None = None,
    progress: DownloadProgress | None = None,
) -> ExportedAdapter:
    """Writes the tutor of a run as a PEFT directory, which `PeftModel.from_pretrained` opens.

    Of a run on a service it takes a training state, since sampler weights cannot be downloaded. A training session of
    the service opens the state and saves its weights for an hour; they are downloaded, checked, and deleted there. If
    that is interrupted, the same call goes on from what is in `.OUT.partial` next to `out`. Of a run on the local
    engine the weights are copied.

    Args:
        source: a run's directory, its URL, or a directory of weights that the local engine saved.
        out: directory to write; it must not be there yet. It appears whole or not at all.
        name: name of a checkpoint. None: the newest that can be exported.
        base_url: server that requests and the key may go to, as for `load_config`.
        allow_files: whether the base model of a local run may be outside `source`.
        service_client: a Tinker service client, or an object with its interface. None: one is opened.
        rest_client: a REST client of the same service; given with `service_client`, or not at all.
        progress: shows what happens. None: lines are logged.

    Returns:
        What was exported.

    Raises:
        CheckpointNotFound: the run has no such weights, or they are gone.
        CloudExtraMissing: packages are not installed that the store of the run needs.
        ConfigError: `out` is there, or `source` is no run.
        DamagedWeights: the local engine's weights are damaged.
        DownloadError: the weights cannot be downloaded, or are no adapter.
        EventLoopRunning: an asyncio loop already runs in this thread; await `export_adapter_async`.
        RunInterrupted: a signal stopped it; what was downloaded is kept.
        ServiceError: the service refused or failed a call.
        StorageError: a file cannot be written; what was downloaded is kept.
        UnsupportedServer: the server does not give trained weights out.
        UntrustedConfig: the run names a server that was not allowed.
    """
    return run_interruptible(
        lambda: export_adapter_async(
            source,
            out,
            name=name,
            base_url=base_url,
            allow_files=allow_files,
            service_client=service_client,
            rest_client=rest_client,
            progress=progress,
        ),
        "export_adapter",
    )


async def export_adapter_async(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    name: str | None = None,
    base_url: str | None = None,
    allow_files: bool = False,
    service_client: ServiceClient | None = None,
    rest_client: RestClient | None = None,
    progress: DownloadProgress | None = None,
) -> ExportedAdapter:
    """As `export_adapter`, within a running asyncio loop, such as a notebook's.

    Args:
        source: as for `export_adapter`.
        out: as for `export_adapter`.
        name: as for `export_adapter`.
        base_url: as for `export_adapter`.
        allow_files: as for `export_adapter`.
        service_client: as for `export_adapter`.
        rest_client: as for `export_adapter`.
        progress: as for `export_adapter`.

    Raises:
        SocraticError: as `export_adapter`; a cancellation keeps what was downloaded.
    """
    target, clients = Path(resolved(out)), given_service(service_client, rest_client)
    check_absent(target)
    grant = Grant(os.fspath(source), Path(resolved(source)), allow_files=allow_files)
    if not is_url(source) and (Path(resolved(source)) / ADAPTER_CONFIG).is_file():
        return await in_thread(_copy_saved, Path(resolved(source)), target, grant, name)
    directory = await in_thread(readable, source, _READ.__contains__)
    check_run(source, directory)
    tutors = saved_tutors(directory, source, name)
    if tutors[0].is_local:
        return await in_thread(_copy_newest, [tutor for tutor in tutors if tutor.is_local], directory, target, grant)
    config = await in_thread(lambda: config_of(source, base_url=base_url, allow_files=allow_files))
    fetch = Fetch(config, target, progress or LoggedProgress(), clients)
    if name is None and (newer := newer_samplers(directory, tutors[0])) is not None:
        fetch.progress.say(
            f"the run has newer sampler weights ({newer.name!r}); the service gives out training states alone, and the "
            f"newest of these is {tutors[0].when}"
        )
    tutor, base_model = await fetch.run([tutor for tutor in tutors if not tutor.is_local])
    return ExportedAdapter(target, tutor.path, tutor.record.name, tutor.record.batch, base_model)


def _copy_saved(source: Path, out: Path, grant: Grant, name: str | None) -> ExportedAdapter:
    """Copies a directory of saved weights."""
    if name is not None:
        raise ConfigError(f"{source} is a directory of saved weights, which has no checkpoint {name!r}; leave it out")
    if not (source / "state.json").is_file():
        raise ConfigError(f"{source} has no state.json: the local engine did not save it, and its base is unknown")
    return ExportedAdapter(out, str(source), None, None, _copy(source, out, grant, {}))


def _copy_newest(tutors: Sequence[SavedTutor], directory: Path, out: Path, grant: Grant) -> ExportedAdapter:
    """Copies the first of some weights of the local engine that are still there."""
    models: dict[str, str] = {}
    with suppress(ConfigError):
        models = model_paths(load_config(directory))
    for tutor in tutors:
        if (weights := _find(tutor.path, directory / STORE, grant)) is not None:
            base_model = _copy(weights, out, grant, models)
            return ExportedAdapter(out, str(weights), tutor.record.name, tutor.record.batch, base_model)
    raise CheckpointNotFound(f"the weights of {grant.source} are gone: {tutors[0].path}")


def _find(path: str, store: Path, grant: Grant) -> Path | None:
    """The directory of weights in a store; None if it has them no more."""
    # Of a place that may not be read not even the facts are, to compare them with those in this store.
    given = path if grant.may_load(path) else str(store.joinpath(*Path(path).parts[-3:]))
    weights = own_weights(store, given)
    if weights is None or not grant.may_load(str(weights)):
        return None
    expires = read_facts(weights)["expires_at"]
    return weights if expires is None or expires > time() else None


def _copy(weights: Path, out: Path, grant: Grant, models: dict[str, str]) -> str:
    """Copies an adapter without its optimizer; returns its base model."""
    base = base_of(read_facts(weights), models, grant.may_load)
    folder = model_folder(models.get(base, base)) if grant.may_load(models.get(base, base)) else None
    base_model = base if folder is None else str(folder.absolute())
    with unfinished(out, str(weights)) as left:
        try:
            left.keep_only(())
            for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
                _copy_file(weights / name, left.files / name)
            check_adapter(left.files, base_model, DamagedWeights)
            left.finish()
        except BaseException:
            left.discard()
            raise
    return base_model


def _copy_file(source: Path, target: Path) -> None:
    try:
        original = open_regular(source)
    except OSError as error:
        raise DamagedWeights(f"{source} cannot be read: {error.strerror or error}; give other weights") from error
    try:
        with original, open_regular(target, "xb") as copy:
            shutil.copyfileobj(original, copy)
    except OSError as error:
        raise StorageError(
            f"{target} cannot be written: {error.strerror or error}. Make room, or give another place"
        ) from error
