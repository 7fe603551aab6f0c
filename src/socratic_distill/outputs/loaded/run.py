"""`load_run`: what a run directory holds, for notebooks and scripts. It only reads."""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.grant import Allowed
from socratic_distill.dialogues.stored import StoredDialogue
from socratic_distill.errors import StorageError
from socratic_distill.evaluation.stored import StoredEvaluation, load_evaluations
from socratic_distill.local.saved_paths import STORE
from socratic_distill.outputs.loaded.embedded import EmbeddedReport
from socratic_distill.outputs.loaded.frames import data_frame, dialogue_fields
from socratic_distill.outputs.loaded.prompts import PromptReader
from socratic_distill.outputs.loaded.summary import summary_html
from socratic_distill.outputs.report.building import build
from socratic_distill.outputs.report.collecting import DialogueLines, Played, dialogues_of, read_dialogues
from socratic_distill.outputs.report.curves import curves, evaluation_points
from socratic_distill.outputs.report.lineage import read_lineage
from socratic_distill.outputs.report.reading import RunFiles, read_run
from socratic_distill.run.checkpoints import load_checkpoints
from socratic_distill.run.cloud.reading import readable
from socratic_distill.run.directory import config_of
from socratic_distill.run.record import CheckpointRecord
from socratic_distill.text import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

_MOST_REPORT_BYTES = 1_000_000  # a notebook keeps the page among its outputs


def load_run(log_path: str | os.PathLike[str], **allowed: Unpack[Allowed]) -> "LoadedRun":
    """Reads a run directory, to look at in a notebook or a script. The run may be under way; nothing is written.

    Args:
        log_path: directory of the run, or its URL. Of a run in a store, everything but its weights is copied to a
            temporary directory.
        **allowed: what the run's config may do, as for `load_config`: `base_url`, `allow_files` and `allow_code`.

    Returns:
        The run as it is now. Load it again to see what it wrote later.

    Raises:
        CloudExtraMissing: packages that the store needs are not installed.
        ConfigError: there is no such directory, or it holds no run.
        StorageError: the store fails.
    """
    directory = readable(log_path, lambda path: not path.startswith(f"{STORE}/"))
    return LoadedRun(os.fspath(log_path), directory, allowed)


class LoadedRun:
    """A run directory, read. A notebook shows its status, its last step and its evaluations.

    Attributes:
        path: the directory or URL, as it was given.
        directory: where its files are; of a run in a store, the temporary copy.
        status: "complete", "interrupted" or "not finished".
    """

    def __init__(self, path: str, directory: Path, allowed: Allowed) -> None:
        """Reads the small files; see `load_run`.

        Args:
            path: as it was given.
            directory: where the files are.
            allowed: what the config may do.
        """
        self.path = path
        self.directory = directory
        self._allowed = allowed
        self._files: RunFiles = read_run(directory)
        self.status = read_lineage(self._files).status

    @property
    def notes(self) -> list[str]:
        """What could not be read so far, in sentences."""
        return list(dict.fromkeys(self._files.notes))

    @cached_property
    def config(self) -> SocraticConfig:
        """The config that the run was last started with, held to the same rules as that of `load_config`.

        Raises:
            ConfigError: there is none, or it cannot be read.
        """
        return config_of(self.path, **self._allowed)

    @cached_property
    def evaluations(self) -> list[StoredEvaluation]:
        """The run's evaluations, in order of batch."""
        return load_evaluations(self.directory)

    @cached_property
    def checkpoints(self) -> list[CheckpointRecord]:
        """The records of the run's saves, oldest first.

        Raises:
            JournalError: the journal cannot be read.
        """
        return load_checkpoints(self.directory)

    def metrics_rows(self) -> Iterator[Mapping[str, Any]]:
        """The rows of `metrics.jsonl` in order of steps. Steps that were done again after a rewind count once."""
        yield from self._files.metrics.values()

    def dialogue_rows(self) -> Iterator[dict[str, Any]]:
        """The dialogues in order, one flat dict each; row number `i` is `dialogue(i)`.

        The keys are `step`, `seed`, `number`, `question`, `expected_answer`, `initial_error`, `ending`, `solved`,
        `told`, `tutor_turns`, `first_reply` (a text), the measures `first_reply/asks`, `first_reply/tells`, `asks`,
        `reply_tokens` (mean) and `teacher_kl` (mean, nats a token), `reward`, `teachers`, `recording` and `error`.
        """
        for line, facts in dialogues_of(self._files):
            yield dialogue_fields(line.row, facts)

    @property
    def metrics(self) -> "DataFrame":
        """`metrics_rows` as a DataFrame, with the step as its index.

        Raises:
            PlotExtraMissing: pandas is not installed.
        """
        return data_frame(self.metrics_rows(), "metrics_rows()", index="step")

    @property
    def dialogues(self) -> "DataFrame":
        """`dialogue_rows` as a DataFrame; the index is the number that `dialogue` takes.

        Raises:
            PlotExtraMissing: pandas is not installed.
        """
        return data_frame(self.dialogue_rows(), "dialogue_rows()")

    def dialogue(self, place: int) -> StoredDialogue:
        """One dialogue, to read: with its tokens coloured by what the teacher thinks of them, and its prompts.

        Args:
            place: its number, from 0, as in the index of `dialogues`; a negative one counts from the end.

        Raises:
            IndexError: the run has no such dialogue.
            StorageError: the file has changed since the run was loaded.
        """
        candidates = self._played.candidates
        if not -len(candidates) <= place < len(candidates):
            raise IndexError(f"dialogue({place}): {shown(self.path)} holds {len(candidates)} dialogues, from 0")
        with DialogueLines(self._files) as lines:
            row = lines.row(candidates[place])
        if row is None:
            raise StorageError(f"{self._files.dialogues} has changed since it was read; load the run again")
        return StoredDialogue(row, self._prompts.of(row))

    def plot(self, measures: Sequence[str] | str | None = None) -> "Figure":
        """The report's curves over the run's steps, with 95 % bands, and its evaluations as points.

        Args:
            measures: names of measures, one panel each: those of the report's charts, such as "teacher_kl", "solved",
                "time/step" or "cost/total". None: the main ones.

        Returns:
            A matplotlib Figure that no pyplot state knows, so nothing has to be closed; a notebook shows it.

        Raises:
            ConfigError: the run has no values of a measure; the message lists those it has.
            PlotExtraMissing: matplotlib is not installed.
        """
        from socratic_distill.outputs.loaded.figure import run_figure

        drawn = curves(self._files.metrics, self._played.sums)
        return run_figure(drawn, evaluation_points(self._files.evaluations), measures)

    def report(self, height: int = 720) -> EmbeddedReport:
        """The run's report inside the notebook, in a frame whose scripts see nothing of the notebook.

        Args:
            height: of the frame, in pixels.
        """
        return EmbeddedReport(build([self.directory], _MOST_REPORT_BYTES).decode(), height)

    @cached_property
    def _played(self) -> Played:
        return read_dialogues(self._files)

    @cached_property
    def _prompts(self) -> PromptReader:
        return PromptReader(lambda: self.config)

    def __repr__(self) -> str:
        """Path, status and number of steps, in one line."""
        return shown(f"LoadedRun({self.path!r}, status={self.status!r}, steps={len(self._files.metrics)})")

    def _repr_html_(self) -> str:
        """Status, last step and evaluations, for notebooks."""
        return summary_html(self.path, self.status, self._files, self.notes, self.evaluations)
