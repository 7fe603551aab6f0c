"""Every error of this library.

SocraticError
├── ConfigError (ValueError)       a config that cannot be meant; raised when it is built
│   └── SeedError                  a seeds file: names file, line and reason
├── StartError                     what the run should begin from cannot be used
│   ├── CheckpointConflict         log_path began elsewhere than load_checkpoint_path says
│   ├── CheckpointNotFound         no training state at the given path
│   ├── JournalError               checkpoints.jsonl cannot be read though the run has history
│   └── ModelMismatch              the loaded weights belong to another base model or rank
├── RunLocked                      another process writes to this log_path
├── RenderingError                 a chat template that cannot serve
├── RolloutError                   more dialogues of a batch failed than max_failed_fraction
├── TeacherError                   teacher scores that do not fit the tutor's tokens
├── TrainingError                  the service failed a training call or a save
├── LocalEngineError               the engine in this process: model files, memory, weights
│   └── LocalExtraMissing (ImportError)   base_url="local" without the `local` extra
└── EventLoopRunning (RuntimeError)       train() inside a running asyncio loop
"""


class SocraticError(Exception):
    """Base of all errors that this library raises on purpose."""


class ConfigError(SocraticError, ValueError):
    """A config field has a value that cannot be meant."""


class SeedError(ConfigError):
    """A seeds file cannot be used; the message names file, line and reason."""


class StartError(SocraticError):
    """The run cannot begin from what `log_path` and `load_checkpoint_path` say."""


class CheckpointConflict(StartError):
    """`log_path` holds a run that began elsewhere than `load_checkpoint_path` says."""


class CheckpointNotFound(StartError):
    """There is no training state where `load_checkpoint_path` points."""


class JournalError(StartError):
    """`checkpoints.jsonl` holds no readable record although the run has history."""


class ModelMismatch(StartError):
    """The loaded weights belong to another base model or LoRA rank than the config's."""


class RunLocked(SocraticError):
    """Another process is writing to this `log_path`."""


class RenderingError(SocraticError):
    """A model's chat template cannot render a dialogue as this library needs it."""


class RolloutError(SocraticError):
    """More dialogues of one batch failed than `max_failed_fraction` allows."""


class TeacherError(SocraticError):
    """The teacher's log-probabilities do not fit the tutor's sampled tokens."""


class TrainingError(SocraticError):
    """The service failed a training call or a save; the run can be resumed."""


class LocalEngineError(SocraticError):
    """The local engine cannot carry out a request."""


class LocalExtraMissing(LocalEngineError, ImportError):
    """`base_url="local"` needs the packages of the `local` extra."""


class EventLoopRunning(SocraticError, RuntimeError):
    """`train()` was called where an asyncio loop already runs, as in a notebook."""
