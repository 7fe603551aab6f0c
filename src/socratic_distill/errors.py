"""Every error of this library.

SocraticError
├── ConfigError (ValueError)       a config that cannot be meant; raised when it is built
│   ├── ModelNotOffered            a model name that the service does not offer, or not for its part
│   ├── RecordingError             a recordings file: names file, line and reason
│   ├── SeedError                  a seeds file: names file, line and reason
│   └── UntrustedConfig            a config.json asks for a server, a file or code that the user did not allow
├── StartError                     what the run should begin from cannot be used
│   ├── CheckpointConflict         log_path began elsewhere than load_checkpoint_path says
│   ├── CheckpointNotFound         no training state at the given path
│   ├── ConfigDrift                the config means another run than the one in log_path
│   ├── ForeignDirectory           log_path is the directory of something else, such as a model's
│   ├── JournalError               checkpoints.jsonl cannot be read though the run has history
│   ├── ModelMismatch              the loaded weights belong to another base model or rank
│   └── NoUsableCheckpoint         the run holds states, but none that it can go on from
├── CostLimitReached               train() stopped at max_cost_usd; the run can be resumed with a higher one
├── PreflightError                 several problems that keep a run from starting, in one list
├── RunInterrupted                 a signal stopped train(); the run can be resumed
├── RunLocked                      another process writes to this log_path
│   ├── LeaseLost                  another process has taken over a log_path in a store
│   └── LockLost                   the lock file was deleted or replaced while this process wrote
├── StorageError                   a file of the run directory cannot be written
│   └── CloudExtraMissing (ImportError)   log_path in a store without the `cloud` extra
├── RenderingError                 a chat template that cannot serve
├── RolloutError                   more dialogues of a batch failed than max_failed_fraction
├── TeacherError                   teacher scores that do not fit the tutor's tokens
├── ServiceError                   the service refused or failed a call; the run can be resumed
│   ├── InvalidAnswer              a training call was answered with NaN, or with other values than asked for
│   ├── SaveError                  max_failed_saves saves in a row failed
│   ├── ServiceUnreachable (ConfigError)  no server answers a health request
│   ├── TrainingError              clients were lost, more than max_recoveries times in a row
│   └── UnsupportedFeature         the service lacks what the objective needs
├── LocalEngineError               the engine in this process: model files, memory, weights
│   ├── DamagedWeights             saved weights whose files cannot be read, or that do not fit the model
│   ├── LocalExtraMissing (ImportError)   base_url="local" without the `local` extra
│   └── UnsupportedModel           a model of an architecture that the local engine does not train
└── EventLoopRunning (RuntimeError)       train() inside a running asyncio loop
"""

from socratic_distill.text import shown


class SocraticError(Exception):
    """Base of all errors that this library raises on purpose.

    As text its control characters are escaped, since messages repeat what files and services say; `args` has it all.
    """

    def __str__(self) -> str:
        """The message, escaped."""
        return shown(super().__str__())


class ConfigError(SocraticError, ValueError):
    """A config field has a value that cannot be meant."""


class ModelNotOffered(ConfigError):
    """The service does not offer a model of the config, or not for what it is to do; the message lists the nearest.

    Attributes:
        name: the model's name as the config has it.
    """

    def __init__(self, message: str, name: str) -> None:
        """Keeps which name it was.

        Args:
            message: what is offered instead.
            name: the model's name as the config has it.
        """
        super().__init__(message)
        self.name = name


class SeedError(ConfigError):
    """A seeds file cannot be used; the message names file, line and reason."""


class RecordingError(ConfigError):
    """A recordings file cannot be used; the message names file, line and reason."""


class UntrustedConfig(ConfigError):
    """A config that was read from a run directory asks for a server, a file or code that the user did not allow."""


class StartError(SocraticError):
    """The run cannot begin from what `log_path` and `load_checkpoint_path` say."""


class CheckpointConflict(StartError):
    """`log_path` holds a run that began elsewhere than `load_checkpoint_path` says."""


class CheckpointNotFound(StartError):
    """There is no training state where `load_checkpoint_path` points."""


class ConfigDrift(StartError):
    """The config differs from the one the run in `log_path` has, in what decides its meaning."""


class ForeignDirectory(StartError):
    """`log_path` is the directory of something else: its `config.json` is not a run's, and it holds no journal."""


class JournalError(StartError):
    """`checkpoints.jsonl` holds no readable record although the run has history."""


class ModelMismatch(StartError):
    """The loaded weights belong to another base model or LoRA rank than the config's."""


class NoUsableCheckpoint(StartError):
    """The run holds states, but every one has expired, is gone, or does not say its batch."""


class CostLimitReached(SocraticError):
    """`train()` stopped since the next step would take the run beyond `max_cost_usd`.

    The message says what was spent and saved. The same script with a higher limit resumes the run.

    Attributes:
        exit_code: what a script exits with: 3.
    """

    exit_code = 3


class PreflightError(SocraticError):
    """Several problems keep a run from starting; the message lists all, each with what to do.

    Attributes:
        problems: what each would be raised as, alone.
    """

    def __init__(self, problems: "list[SocraticError] | tuple[SocraticError, ...]") -> None:
        """Lists them.

        Args:
            problems: two or more.
        """
        listed = "".join(f"\n  {number}. {type(one).__name__}: {one}" for number, one in enumerate(problems, 1))
        super().__init__(f"{len(problems)} problems keep the run from starting:{listed}")
        self.problems = tuple(problems)


def raise_all(problems: "list[SocraticError] | tuple[SocraticError, ...]") -> None:
    """Returns if there are no problems.

    Args:
        problems: what is wrong.

    Raises:
        SocraticError: the problem, where there is one alone.
        PreflightError: there are several.
    """
    if problems:
        raise problems[0] if len(problems) == 1 else PreflightError(problems)


class RunInterrupted(SocraticError):
    """A signal stopped `train()`; the message says what was saved and how to go on.

    Attributes:
        signal_number: the signal.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        """Keeps which signal it was.

        Args:
            message: what was saved, and how to go on.
            signal_number: as in `signal.Signals`: 2 for SIGINT, 15 for SIGTERM.
        """
        super().__init__(message)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """What a script exits with, by the shells' convention: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.signal_number


class RunLocked(SocraticError):
    """Another process is writing to this `log_path`."""


class LeaseLost(RunLocked):
    """Another process has taken over a `log_path` in a store from one that did not show for long that it lives."""


class LockLost(RunLocked):
    """The lock file of a run directory was deleted or replaced under its writer: another one may write there."""


class StorageError(SocraticError):
    """A file of the run directory cannot be written: no room, no permission, or no directory."""


class CloudExtraMissing(StorageError, ImportError):
    """A `log_path` in a store needs the packages of the `cloud` extra, or of its kind of store."""


class RenderingError(SocraticError):
    """A model's chat template cannot render a dialogue as this library needs it."""


class RolloutError(SocraticError):
    """More dialogues of one batch failed than `max_failed_fraction` allows."""


class TeacherError(SocraticError):
    """The teacher's log-probabilities do not fit the tutor's sampled tokens."""


class ServiceError(SocraticError):
    """The service refused a call, or failed it for good. What was recorded before it is kept."""


class InvalidAnswer(ServiceError):
    """The service answered with numbers that no training can go on with: NaN, infinity, or too few of them.

    Nothing is saved of weights that may be damaged; the run can be resumed from the last recorded state.
    """


class SaveError(ServiceError):
    """The service failed `max_failed_saves` saves in a row."""


class ServiceUnreachable(ServiceError, ConfigError):
    """No server answers at `base_url`, or at the hosted service, within the time that a health request has."""


class TrainingError(ServiceError):
    """The connection or the training client was lost, more than `max_recoveries` times in a row."""


class UnsupportedFeature(ServiceError):
    """The service lacks a feature that the objective needs; the message says which objectives work there."""


class LocalEngineError(SocraticError):
    """The local engine cannot carry out a request."""


class DamagedWeights(LocalEngineError):
    """Saved weights cannot be read, or do not fit the model; a run goes on from an older state."""


class LocalExtraMissing(LocalEngineError, ImportError):
    """`base_url="local"` needs the packages of the `local` extra."""


class UnsupportedModel(LocalEngineError):
    """The local engine does not train models of this architecture; the message says what does not hold."""


class EventLoopRunning(SocraticError, RuntimeError):
    """`train()` was called where an asyncio loop already runs, as in a notebook."""
