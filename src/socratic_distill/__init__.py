"""socratic-distill: train a small model to tutor, by on-policy distillation from a Socratic teacher."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from socratic_distill.builder import build_socratic_config
    from socratic_distill.checking import Preflight, preflight, preflight_async
    from socratic_distill.checkpoints import CheckpointManager, load_checkpoints
    from socratic_distill.config import SocraticConfig
    from socratic_distill.errors import (
        CheckpointConflict,
        CheckpointNotFound,
        CloudExtraMissing,
        ConfigDrift,
        ConfigError,
        CostLimitReached,
        DamagedWeights,
        EventLoopRunning,
        ForeignDirectory,
        InvalidAnswer,
        JournalError,
        LeaseLost,
        LocalEngineError,
        LocalExtraMissing,
        LockLost,
        ModelMismatch,
        ModelNotOffered,
        NoUsableCheckpoint,
        PreflightError,
        RecordingError,
        RenderingError,
        RolloutError,
        RunInterrupted,
        RunLocked,
        SaveError,
        SeedError,
        ServiceError,
        ServiceUnreachable,
        SocraticError,
        StartError,
        StorageError,
        TeacherError,
        TrainingError,
        UnsupportedFeature,
        UnsupportedModel,
        UntrustedConfig,
    )
    from socratic_distill.estimate import CostEstimate, CostLine, estimate_cost
    from socratic_distill.evaluation import (
        Evaluation,
        Measure,
        compare,
        compare_async,
        comparison_table,
        evaluate,
        evaluate_async,
        load_evaluations,
    )
    from socratic_distill.loop import TrainResult
    from socratic_distill.records import CheckpointRecord
    from socratic_distill.script import run_script
    from socratic_distill.seeds import Seed, load_seeds
    from socratic_distill.service import open_service
    from socratic_distill.start import FreshStart, LoadCheckpoint, Resume, resolve_start
    from socratic_distill.trainer import train, train_async

_ERRORS = (
    "CheckpointConflict CheckpointNotFound CloudExtraMissing ConfigDrift ConfigError CostLimitReached DamagedWeights "
    "EventLoopRunning ForeignDirectory InvalidAnswer JournalError LeaseLost LocalEngineError LocalExtraMissing "
    "LockLost ModelMismatch ModelNotOffered NoUsableCheckpoint PreflightError RecordingError RenderingError "
    "RolloutError RunInterrupted RunLocked SaveError SeedError ServiceError ServiceUnreachable SocraticError "
    "StartError StorageError TeacherError TrainingError UnsupportedFeature UnsupportedModel UntrustedConfig"
)
_NAMES = {
    "checkpoints": "CheckpointManager load_checkpoints",
    "builder": "build_socratic_config",
    "config": "SocraticConfig",
    "errors": _ERRORS,
    "estimate": "CostEstimate CostLine estimate_cost",
    "evaluation": "Evaluation Measure compare compare_async comparison_table evaluate evaluate_async load_evaluations",
    "checking": "Preflight preflight preflight_async",
    "loop": "TrainResult",
    "records": "CheckpointRecord",
    "script": "run_script",
    "seeds": "Seed load_seeds",
    "service": "open_service",
    "start": "FreshStart LoadCheckpoint Resume resolve_start",
    "trainer": "train train_async",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "CheckpointConflict",
    "CheckpointManager",
    "CheckpointNotFound",
    "CheckpointRecord",
    "CloudExtraMissing",
    "ConfigDrift",
    "ConfigError",
    "CostEstimate",
    "CostLimitReached",
    "CostLine",
    "DamagedWeights",
    "Evaluation",
    "EventLoopRunning",
    "ForeignDirectory",
    "FreshStart",
    "InvalidAnswer",
    "JournalError",
    "LeaseLost",
    "LoadCheckpoint",
    "LocalEngineError",
    "LocalExtraMissing",
    "LockLost",
    "Measure",
    "ModelMismatch",
    "ModelNotOffered",
    "NoUsableCheckpoint",
    "Preflight",
    "PreflightError",
    "RecordingError",
    "RenderingError",
    "Resume",
    "RolloutError",
    "RunInterrupted",
    "RunLocked",
    "SaveError",
    "Seed",
    "SeedError",
    "ServiceError",
    "ServiceUnreachable",
    "SocraticConfig",
    "SocraticError",
    "StartError",
    "StorageError",
    "TeacherError",
    "TrainResult",
    "TrainingError",
    "UnsupportedFeature",
    "UnsupportedModel",
    "UntrustedConfig",
    "build_socratic_config",
    "compare",
    "compare_async",
    "comparison_table",
    "estimate_cost",
    "evaluate",
    "evaluate_async",
    "load_checkpoints",
    "load_evaluations",
    "load_seeds",
    "open_service",
    "preflight",
    "preflight_async",
    "resolve_start",
    "run_script",
    "train",
    "train_async",
]


def __getattr__(name: str) -> Any:
    """Loads a public name on first use, so that importing the package stays quick."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
