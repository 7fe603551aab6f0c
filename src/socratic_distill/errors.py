"""Every error of this library.

SocraticError
├── ConfigError (ValueError)       an invalid config; raised when it is built
│   ├── ModelNotOffered            the service does not offer the model, or not for this role
│   ├── RecordingError             a recordings file: names file, line and reason
│   ├── SeedError                  a seeds file: names file, line and reason
│   ├── SuiteError                 the data of a published suite: names the file and the reason
│   └── UntrustedConfig            a config.json asks for a server, a file or code that the user did not allow
├── StartError                     the run cannot start from its log_path or load_checkpoint_path
│   ├── CheckpointConflict         the run in log_path started from another checkpoint than load_checkpoint_path
│   ├── CheckpointNotFound         no training state at the given path
│   ├── ConfigDrift                the run in log_path was started with a different config
│   ├── ForeignDirectory           log_path is not a run directory; it holds something else, such as a model
│   ├── JournalError               checkpoints.jsonl cannot be read though the run has history
│   ├── ModelMismatch              the loaded weights belong to another base model or rank
│   └── NoUsableCheckpoint         the run has training states, but none that it can resume from
├── CostLimitReached               train() stopped at max_cost_usd; a higher limit resumes the run
├── PreflightError                 several problems prevent the run from starting; all are listed
├── RunInterrupted                 a signal stopped train() or a download, which can be resumed
├── RunLocked                      another process writes to this log_path
│   ├── LeaseLost                  another process has taken over a log_path in a store
│   └── LockLost                   the lock file was deleted or replaced while this process wrote
├── StorageError                   a file of the run directory cannot be written
│   └── CloudExtraMissing (ImportError)   log_path in a store without the `cloud` extra
├── RenderingError                 a chat template that this library cannot use
├── RolloutError                   more dialogues of a batch failed than max_failed_fraction
├── TeacherError                   teacher scores that do not fit the tutor's tokens
├── ServiceError                   the service refused or failed a call; the run can be resumed
│   ├── DownloadError              trained weights cannot be downloaded, or are not what was asked for
│   ├── InvalidAnswer              a training call returned NaN, or not the values that were requested
│   ├── SaveError                  max_failed_saves saves in a row failed
│   ├── ServiceUnreachable (ConfigError)  no server answers a health request
│   ├── TrainingError              clients were lost more than max_recoveries times in a row
│   ├── UnsupportedFeature         the service lacks what the objective needs
│   └── UnsupportedServer          the server speaks another revision of the API than the SDK
├── OpenAIExtraMissing (ImportError)    models on other endpoints without the `openai` extra
├── DataExtraMissing (ImportError)      Parquet, .zst or `datasets` without the `data` extra
├── PlotExtraMissing (ImportError)      DataFrames and figures without the `plot` extra
├── HubError                       an export cannot be pushed to the model hub
│   └── HubExtraMissing (ImportError)  pushing to the model hub without the `hub` extra
├── ServeExtraMissing (ImportError)     serving a tutor without the `serve` extra
├── BleuExtraMissing (ImportError)      MathTutorBench's Socratic questions without the `bleu` extra
├── MathExtraMissing (ImportError)      answers of the kind "expression" without the `math` extra
├── LocalEngineError               an error of the local engine: model files, memory, weights
│   ├── DamagedWeights             saved weights cannot be read, or do not fit the model
│   ├── LocalExtraMissing (ImportError)   base_url="local" or a custom loss without the `local` extra
│   ├── NotEnoughMemory            a run on the local engine would not fit this machine's memory
│   └── UnsupportedModel           the local engine does not train this architecture
├── ConverterError                 llama.cpp's converter to GGUF is not installed, or fails
├── UnsupportedAdapter             an adapter that is more than a plain LoRA, or that a program does not load
└── EventLoopRunning (RuntimeError)       train() inside a running asyncio loop
"""

import pathlib

from socratic_distill.text import shown

_PAGE = "troubleshooting.md"
# A wheel brings the page along, in this directory; in a checkout it is among the other pages.
_HELP_PAGES = (pathlib.Path(__file__).with_name(_PAGE), pathlib.Path(__file__).parents[2] / "docs" / _PAGE)


class SocraticError(Exception):
    """Base of all errors that this library raises on purpose.

    `str()` escapes control characters, because messages quote files and services. `args` holds the unescaped text.
    """

    def __str__(self) -> str:
        """The message, escaped."""
        return shown(super().__str__())

    @property
    def help_page(self) -> str:
        """Where to read what this error means and what to do: a file on this machine and a heading in it."""
        # An error class of a user has no section of its own; that of its nearest ancestor here fits.
        name = next(kind.__name__ for kind in type(self).__mro__ if kind.__module__ == __name__)
        page = next((page for page in _HELP_PAGES if page.is_file()), _HELP_PAGES[-1])
        return f"{page}#{name.lower()}"


class ConfigError(SocraticError, ValueError):
    """A config field has an invalid value, or two fields contradict each other.

    Attributes:
        problems: of a config that was refused, the location of each problem and what it is. A location is the field,
            and keys and indexes in its value; it is empty for a rule between fields.
    """

    problems: tuple[tuple[tuple[str | int, ...], str], ...] = ()


class ModelNotOffered(ConfigError):
    """The service does not offer a model of the config, or not for its role; the message lists the nearest names.

    Attributes:
        name: the model's name as the config has it.
        proposal: the call with models that are offered and fit together; None if there is none to propose.
    """

    def __init__(self, message: str, name: str, proposal: str | None = None) -> None:
        """Keeps the name and the proposal.

        Args:
            message: text of the error; it lists what the service offers instead.
            name: the model's name as the config has it.
            proposal: the call to make instead; added to the message.
        """
        super().__init__(message if proposal is None else f"{message}; {proposal}")
        self.name = name
        self.proposal = proposal


class SeedError(ConfigError):
    """A seeds file cannot be used; the message names file, line and reason."""


class SuiteError(ConfigError):
    """The data of a published suite cannot be used, or there is no such suite; the message says what is expected."""


class RecordingError(ConfigError):
    """A recordings file cannot be used; the message names file, line and reason."""


class UntrustedConfig(ConfigError):
    """A config that was read from a run directory asks for a server, a file or code that the user did not allow."""


class StartError(SocraticError):
    """The run cannot start from its `log_path` or `load_checkpoint_path`."""


class CheckpointConflict(StartError):
    """The run in `log_path` started from another checkpoint than `load_checkpoint_path`."""


class CheckpointNotFound(StartError):
    """There is no training state at `load_checkpoint_path`."""


class ConfigDrift(StartError):
    """The config differs from that of the run in `log_path`, in a field that cannot change on resume."""


class ForeignDirectory(StartError):
    """`log_path` is not a run directory: its `config.json` is not a run's, and it has no journal."""


class JournalError(StartError):
    """`checkpoints.jsonl` holds no readable record although the run has history."""


class ModelMismatch(StartError):
    """The loaded weights belong to another base model or LoRA rank than the config's."""


class NoUsableCheckpoint(StartError):
    """The run has training states, but all of them have expired, are missing, or do not name their batch."""


class CostLimitReached(SocraticError):
    """`train()` stopped because the next step would exceed `max_cost_usd`.

    The message says what was spent and saved. The same script with a higher limit resumes the run.

    Attributes:
        exit_code: exit status for a script: 3.
    """

    exit_code = 3


class PreflightError(SocraticError):
    """Several problems prevent a run from starting; the message lists each with what to do.

    Attributes:
        problems: the errors; one alone would be raised as itself.
    """

    def __init__(self, problems: "list[SocraticError] | tuple[SocraticError, ...]") -> None:
        """Builds the message from the problems.

        Args:
            problems: two or more errors.
        """
        listed = "".join(
            f"\n  {number}. {type(problem).__name__}: {problem}" for number, problem in enumerate(problems, 1)
        )
        super().__init__(f"{len(problems)} problems keep the run from starting:{listed}")
        self.problems = tuple(problems)


def raise_all(problems: "list[SocraticError] | tuple[SocraticError, ...]") -> None:
    """Raises the given problems; returns if there are none.

    Args:
        problems: the errors found.

    Raises:
        SocraticError: the problem, if there is exactly one.
        PreflightError: there are several.
    """
    if problems:
        raise problems[0] if len(problems) == 1 else PreflightError(problems)


class RunInterrupted(SocraticError):
    """A signal stopped `train()` or a download; the message says what was saved and how to resume.

    Attributes:
        signal_number: number of the signal.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        """Keeps the signal's number.

        Args:
            message: what was saved, and how to resume.
            signal_number: as in `signal.Signals`: 2 for SIGINT, 15 for SIGTERM.
        """
        super().__init__(message)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """Exit status for a script, as shells define it: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.signal_number


class RunLocked(SocraticError):
    """Another process is writing to this `log_path`."""


class LeaseLost(RunLocked):
    """Another process took over this `log_path` in a store, because this one did not renew its lease for too long."""


class LockLost(RunLocked):
    """The lock file was deleted or replaced while this process wrote: another process may write there too."""


class StorageError(SocraticError):
    """A file of the run directory cannot be written: no space, no permission, or no directory."""


class CloudExtraMissing(StorageError, ImportError):
    """A `log_path` in a store needs the packages of the `cloud` extra, or those of its kind of store."""


class RenderingError(SocraticError):
    """A model's chat template cannot render a dialogue in the way that this library needs."""


class RolloutError(SocraticError):
    """More dialogues of one batch failed than `max_failed_fraction` allows."""


class TeacherError(SocraticError):
    """The teacher's log-probabilities do not fit the tutor's sampled tokens."""


class ServiceError(SocraticError):
    """The service refused a call, or it failed permanently. Everything recorded before it is kept."""


class DownloadError(ServiceError):
    """Trained weights cannot be downloaded from the service's store, or are not an adapter.

    Attributes:
        can_resume: whether what was downloaded is kept, and the same command goes on from there.
    """

    def __init__(self, message: str, can_resume: bool = False) -> None:
        """Keeps whether the download can go on.

        Args:
            message: text of the error.
            can_resume: whether the same command goes on from what was downloaded.
        """
        super().__init__(message)
        self.can_resume = can_resume


class InvalidAnswer(ServiceError):
    """The service returned numbers that training cannot use: NaN, infinity, or too few of them.

    Weights that may be damaged are not saved. The run can be resumed from the last recorded state.
    """


class SaveError(ServiceError):
    """The service failed `max_failed_saves` saves in a row."""


class ServiceUnreachable(ServiceError, ConfigError):
    """No server at `base_url`, or no hosted service, answers a health request in time."""


class TrainingError(ServiceError):
    """The connection or the training client was lost more than `max_recoveries` times in a row."""


class UnsupportedFeature(ServiceError):
    """The service lacks a feature that the objective needs; the message says which objectives work there."""


class UnsupportedServer(ServiceError):
    """The server speaks another revision of the Tinker API than the SDK; the message says what it lacks."""


class HubError(SocraticError):
    """An export cannot be pushed to the model hub; the message says what to change."""


class HubExtraMissing(HubError, ImportError):
    """Pushing to the model hub needs the package of the `hub` extra."""


class ServeExtraMissing(SocraticError, ImportError):
    """Serving a tutor needs the packages of the `serve` extra."""


class OpenAIExtraMissing(SocraticError, ImportError):
    """Students and judges on other endpoints need the package of the `openai` extra."""


class DataExtraMissing(SocraticError, ImportError):
    """Parquet files need pyarrow, `.zst` files zstandard and data sets `datasets`, the packages of the `data` extra."""


class PlotExtraMissing(SocraticError, ImportError):
    """DataFrames need pandas and figures need matplotlib, the packages of the `plot` extra."""


class BleuExtraMissing(SocraticError, ImportError):
    """MathTutorBench's Socratic questions need sacrebleu, the package of the `bleu` extra."""


class MathExtraMissing(SocraticError, ImportError):
    """Answers of the kind "expression" need math-verify, the package of the `math` extra."""


class LocalEngineError(SocraticError):
    """The local engine cannot carry out a request."""


class DamagedWeights(LocalEngineError):
    """Saved weights cannot be read, or do not fit the model; a run resumes from an older state."""


class LocalExtraMissing(LocalEngineError, ImportError):
    """`base_url="local"` needs the packages of the `local` extra; a custom loss needs its torch."""


class NotEnoughMemory(LocalEngineError):
    """A run on the local engine would not fit this machine's memory; found out before the model is loaded."""


class UnsupportedModel(LocalEngineError):
    """The local engine does not train models of this architecture; the message says which requirement fails."""


class UnsupportedAdapter(SocraticError):
    """An adapter is more than a plain LoRA, or on layers that the program it is meant for does not adapt."""


class ConverterError(SocraticError):
    """The converter to GGUF, which is llama.cpp's, is not installed, or does not convert the model."""


class EventLoopRunning(SocraticError, RuntimeError):
    """`train()` was called inside a running asyncio loop, as in a notebook."""
