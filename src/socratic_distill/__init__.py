"""socratic-distill: train a small model to tutor, by on-policy distillation from a Socratic teacher."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from socratic_distill.cli.script import (
        run_script as run_script,
    )
    from socratic_distill.config.builder import (
        build_socratic_config as build_socratic_config,
    )
    from socratic_distill.config.config import (
        SocraticConfig as SocraticConfig,
    )
    from socratic_distill.config.dialogue_settings import (
        FunctionEnding as FunctionEnding,
        PhraseEnding as PhraseEnding,
        SolvedEnding as SolvedEnding,
    )
    from socratic_distill.config.objectives import (
        ConstantControl as ConstantControl,
        CustomObjective as CustomObjective,
        ForwardKL as ForwardKL,
        JensenShannon as JensenShannon,
        Mixture as Mixture,
        MonteCarloKL as MonteCarloKL,
        ReverseKL as ReverseKL,
        SampledReverseKL as SampledReverseKL,
        ShuffledControl as ShuffledControl,
        Supervised as Supervised,
        Weighted as Weighted,
    )
    from socratic_distill.config.parts import (
        Judge as Judge,
        Price as Price,
        Recordings as Recordings,
        SeedsFile as SeedsFile,
        SolvedRange as SolvedRange,
        Teacher as Teacher,
    )
    from socratic_distill.config.rewards import (
        FunctionReward as FunctionReward,
        JudgeReward as JudgeReward,
        OutcomeReward as OutcomeReward,
        SolveRateReward as SolveRateReward,
    )
    from socratic_distill.config.signed_teachers import (
        anchored_residual as anchored_residual,
        contrast as contrast,
        extrapolated as extrapolated,
    )
    from socratic_distill.config.students import (
        Endpoint as Endpoint,
        Student as Student,
    )
    from socratic_distill.config.token_weights import (
        DisagreementWeight as DisagreementWeight,
        EntropyGate as EntropyGate,
        EntropyWeight as EntropyWeight,
        FreshnessWeight as FreshnessWeight,
        PositionWeight as PositionWeight,
        PrefixWeight as PrefixWeight,
        RewardGate as RewardGate,
        SignGate as SignGate,
        TrustRegion as TrustRegion,
        WeightClip as WeightClip,
    )
    from socratic_distill.config.values import (
        Schedule as Schedule,
    )
    from socratic_distill.cost.estimate import (
        CostEstimate as CostEstimate,
        CostLine as CostLine,
        estimate_cost as estimate_cost,
    )
    from socratic_distill.cost.suites import (
        BenchmarkEstimate as BenchmarkEstimate,
        estimate_benchmark as estimate_benchmark,
    )
    from socratic_distill.dialogues.seeds import (
        Seed as Seed,
        load_seeds as load_seeds,
    )
    from socratic_distill.errors import (
        BleuExtraMissing as BleuExtraMissing,
        CheckpointConflict as CheckpointConflict,
        CheckpointNotFound as CheckpointNotFound,
        CloudExtraMissing as CloudExtraMissing,
        ConfigDrift as ConfigDrift,
        ConfigError as ConfigError,
        ConverterError as ConverterError,
        CostLimitReached as CostLimitReached,
        DamagedWeights as DamagedWeights,
        DataExtraMissing as DataExtraMissing,
        DownloadError as DownloadError,
        EventLoopRunning as EventLoopRunning,
        ForeignDirectory as ForeignDirectory,
        HubError as HubError,
        HubExtraMissing as HubExtraMissing,
        InvalidAnswer as InvalidAnswer,
        JournalError as JournalError,
        LeaseLost as LeaseLost,
        LocalEngineError as LocalEngineError,
        LocalExtraMissing as LocalExtraMissing,
        LockLost as LockLost,
        MathExtraMissing as MathExtraMissing,
        ModelMismatch as ModelMismatch,
        ModelNotOffered as ModelNotOffered,
        NotEnoughMemory as NotEnoughMemory,
        NoUsableCheckpoint as NoUsableCheckpoint,
        OpenAIExtraMissing as OpenAIExtraMissing,
        PlotExtraMissing as PlotExtraMissing,
        PreflightError as PreflightError,
        RecordingError as RecordingError,
        RenderingError as RenderingError,
        RolloutError as RolloutError,
        RunInterrupted as RunInterrupted,
        RunLocked as RunLocked,
        SaveError as SaveError,
        SeedError as SeedError,
        ServeExtraMissing as ServeExtraMissing,
        ServiceError as ServiceError,
        ServiceUnreachable as ServiceUnreachable,
        SocraticError as SocraticError,
        StartError as StartError,
        StorageError as StorageError,
        SuiteError as SuiteError,
        TeacherError as TeacherError,
        TrainingError as TrainingError,
        UnsupportedAdapter as UnsupportedAdapter,
        UnsupportedFeature as UnsupportedFeature,
        UnsupportedModel as UnsupportedModel,
        UnsupportedServer as UnsupportedServer,
        UntrustedConfig as UntrustedConfig,
    )
    from socratic_distill.evaluation import (
        Benchmark as Benchmark,
        Comparison as Comparison,
        Difference as Difference,
        Evaluation as Evaluation,
        Fidelity as Fidelity,
        Measure as Measure,
        SuiteResult as SuiteResult,
        compare as compare,
        compare_async as compare_async,
        comparison_table as comparison_table,
        difference_table as difference_table,
        evaluate as evaluate,
        evaluate_async as evaluate_async,
        load_benchmarks as load_benchmarks,
        load_evaluations as load_evaluations,
        paired_differences as paired_differences,
        student_fidelity as student_fidelity,
        student_fidelity_async as student_fidelity_async,
    )
    from socratic_distill.outputs.benchmarks import (
        benchmark as benchmark,
        benchmark_async as benchmark_async,
    )
    from socratic_distill.outputs.exports import (
        Choice as Choice,
        Exported as Exported,
        export_csv as export_csv,
        export_dataset as export_dataset,
        export_messages as export_messages,
        export_trace as export_trace,
    )
    from socratic_distill.outputs.exports.adapter import (
        DownloadProgress as DownloadProgress,
        ExportedAdapter as ExportedAdapter,
        export_adapter as export_adapter,
        export_adapter_async as export_adapter_async,
    )
    from socratic_distill.outputs.exports.gguf import (
        export_gguf as export_gguf,
    )
    from socratic_distill.outputs.exports.merged import (
        export_merged as export_merged,
    )
    from socratic_distill.outputs.exports.programs import (
        fit_adapter as fit_adapter,
    )
    from socratic_distill.outputs.leaderboard import (
        write_leaderboard as write_leaderboard,
    )
    from socratic_distill.outputs.loaded import (
        LoadedRun as LoadedRun,
        load_run as load_run,
    )
    from socratic_distill.outputs.report import (
        write_report as write_report,
    )
    from socratic_distill.outputs.serving.server import (
        serve as serve,
    )
    from socratic_distill.run.checkpoints import (
        CheckpointManager as CheckpointManager,
        load_checkpoints as load_checkpoints,
    )
    from socratic_distill.run.record import (
        CheckpointRecord as CheckpointRecord,
    )
    from socratic_distill.run.start import (
        FreshStart as FreshStart,
        LoadCheckpoint as LoadCheckpoint,
        Resume as Resume,
        resolve_start as resolve_start,
    )
    from socratic_distill.service.connect import (
        open_service as open_service,
    )
    from socratic_distill.training.callbacks import (
        Callback as Callback,
        RunHistory as RunHistory,
        Stop as Stop,
    )
    from socratic_distill.training.early_stopping import (
        EarlyStopping as EarlyStopping,
    )
    from socratic_distill.training.preflight import (
        Preflight as Preflight,
        preflight as preflight,
        preflight_async as preflight_async,
    )
    from socratic_distill.training.result import (
        TrainResult as TrainResult,
    )
    from socratic_distill.training.trainer import (
        train as train,
        train_async as train_async,
    )

# Module and names, for loading on first use: importing the package stays quick. As above, for type checkers.
_NAMES = {
    "cli.script": "run_script",
    "config.builder": "build_socratic_config",
    "config.config": "SocraticConfig",
    "config.objectives": (
        "ConstantControl CustomObjective ForwardKL JensenShannon Mixture MonteCarloKL ReverseKL SampledReverseKL "
        "ShuffledControl Supervised Weighted"
    ),
    "config.parts": "Judge Price Recordings SeedsFile SolvedRange Teacher",
    "config.rewards": "FunctionReward JudgeReward OutcomeReward SolveRateReward",
    "config.dialogue_settings": "FunctionEnding PhraseEnding SolvedEnding",
    "config.token_weights": (
        "DisagreementWeight EntropyGate EntropyWeight FreshnessWeight PositionWeight PrefixWeight RewardGate SignGate "
        "TrustRegion WeightClip"
    ),
    "config.signed_teachers": "anchored_residual contrast extrapolated",
    "config.students": "Endpoint Student",
    "config.values": "Schedule",
    "cost.estimate": "CostEstimate CostLine estimate_cost",
    "cost.suites": "BenchmarkEstimate estimate_benchmark",
    "dialogues.seeds": "Seed load_seeds",
    "errors": (
        "BleuExtraMissing CheckpointConflict CheckpointNotFound CloudExtraMissing ConfigDrift ConfigError "
        "ConverterError CostLimitReached DamagedWeights DataExtraMissing DownloadError EventLoopRunning "
        "ForeignDirectory HubError HubExtraMissing InvalidAnswer JournalError LeaseLost LocalEngineError "
        "LocalExtraMissing LockLost MathExtraMissing ModelMismatch ModelNotOffered NoUsableCheckpoint "
        "NotEnoughMemory OpenAIExtraMissing PlotExtraMissing PreflightError RecordingError RenderingError "
        "RolloutError RunInterrupted RunLocked SaveError SeedError ServeExtraMissing ServiceError "
        "ServiceUnreachable SocraticError StartError StorageError SuiteError TeacherError TrainingError "
        "UnsupportedAdapter UnsupportedFeature UnsupportedModel UnsupportedServer UntrustedConfig"
    ),
    "evaluation": (
        "Benchmark Comparison Difference Evaluation Fidelity Measure SuiteResult "
        "compare compare_async comparison_table difference_table evaluate evaluate_async load_benchmarks "
        "load_evaluations paired_differences student_fidelity student_fidelity_async"
    ),
    "outputs.benchmarks": "benchmark benchmark_async",
    "outputs.exports": "Choice Exported export_csv export_dataset export_messages export_trace",
    "outputs.exports.adapter": "DownloadProgress ExportedAdapter export_adapter export_adapter_async",
    "outputs.exports.gguf": "export_gguf",
    "outputs.exports.merged": "export_merged",
    "outputs.exports.programs": "fit_adapter",
    "outputs.leaderboard": "write_leaderboard",
    "outputs.loaded": "LoadedRun load_run",
    "outputs.report": "write_report",
    "run.checkpoints": "CheckpointManager load_checkpoints",
    "run.record": "CheckpointRecord",
    "run.start": "FreshStart LoadCheckpoint Resume resolve_start",
    "service.connect": "open_service",
    "outputs.serving.server": "serve",
    "training.callbacks": "Callback RunHistory Stop",
    "training.early_stopping": "EarlyStopping",
    "training.preflight": "Preflight preflight preflight_async",
    "training.result": "TrainResult",
    "training.trainer": "train train_async",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Loads a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
