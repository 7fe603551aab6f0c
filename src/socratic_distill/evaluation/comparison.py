"""Measures one tutor, or several on the same seeds, in one call."""

from collections.abc import Sequence

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.named_models import with_known_names
from socratic_distill.config.trust import check_files
from socratic_distill.dialogues.batches import hold_out
from socratic_distill.dialogues.briefing import Briefing
from socratic_distill.dialogues.prompts import check_prompts
from socratic_distill.dialogues.seeds import Seed, seeds_of
from socratic_distill.dialogues.verdicts import check_verdicts
from socratic_distill.errors import ConfigError, raise_all
from socratic_distill.evaluation.evaluator import Evaluation, Evaluator, Progress, open_base
from socratic_distill.evaluation.measures_html import measures_html
from socratic_distill.evaluation.paired import Difference, paired_differences
from socratic_distill.evaluation.tutors import named_weights, open_candidate, say_which
from socratic_distill.service.connect import connect
from socratic_distill.service.endpoints import check_endpoints
from socratic_distill.service.handover import hand_over
from socratic_distill.service.interface import RestClient, ServiceClient
from socratic_distill.service.offer import settle_models
from socratic_distill.service.waiting import run_blocking


class Comparison(dict[str, Evaluation]):
    """The evaluations of several tutors, by name. A dict that a notebook shows as a table."""

    def differences(self, first: str, second: str) -> dict[str, Difference]:
        """How each measure of the second of two tutors differs from the first's, paired over the seeds.

        Args:
            first: name of a tutor.
            second: name of another.

        Raises:
            KeyError: there is no tutor of this name.
        """
        return paired_differences(self[first].by_seed, self[second].by_seed)

    def _repr_html_(self) -> str:
        """The measures of all tutors side by side, for notebooks."""
        measures = {name: evaluation.measures for name, evaluation in self.items()}
        dialogues = {len(evaluation.dialogues) for evaluation in self.values()}
        return measures_html("Comparison", measures, *(f"{count} dialogues with each tutor" for count in dialogues))


def evaluate(
    config: SocraticConfig,
    tutor: str = "final",
    *,
    seeds: Sequence[Seed] | None = None,
    service_client: ServiceClient | None = None,
    rest_client: RestClient | None = None,
) -> Evaluation:
    """Plays dialogues on each seed with a tutor, without training it, and measures them.

    The same config, seeds and weights give the same dialogues. Which weights of a run are measured is said on standard
    error, unless config.display is "off", and in the evaluation's `tutor` and `batch`.

    Args:
        config: models, prompts and limits, as for `train`; its `eval_…` fields and `judge` say what is measured.
        tutor: what to measure, named as for `compare`: "final" is the tutor that the run in config.log_path trained,
            by its newest sampler weights; "base" is the untrained model; a number such as "20" is the tutor before
            that batch. Any other text is the path of sampler weights or the name of a base model.
        seeds: seeds to play on. None uses the seeds that the config holds out, or all if it holds out none.
        service_client: as for `train`.
        rest_client: as for `train`.

    Raises:
        CheckpointNotFound: the run saved no such weights, or the service has deleted them.
        RolloutError: more than `config.max_failed_fraction` of the dialogues failed.
        ServiceError: the service failed a call.
        EventLoopRunning: an asyncio loop already runs in this thread; await `evaluate_async`.
    """
    hand_over(config, service_client, rest_client)
    clients = {"service_client": service_client, "rest_client": rest_client}
    return run_blocking(lambda: evaluate_async(config, tutor, seeds=seeds, **clients), "evaluate")


async def evaluate_async(
    config: SocraticConfig,
    tutor: str = "final",
    *,
    seeds: Sequence[Seed] | None = None,
    service_client: ServiceClient | None = None,
    rest_client: RestClient | None = None,
) -> Evaluation:
    """The same as `evaluate`, on the asyncio loop that awaits it."""
    hand_over(config, service_client, rest_client)
    clients = {"service_client": service_client, "rest_client": rest_client}
    (evaluation,) = (await compare_async(config, [tutor], seeds=seeds, **clients)).values()
    return evaluation


def compare(
    config: SocraticConfig,
    tutors: Sequence[str],
    *,
    seeds: Sequence[Seed] | None = None,
    progress: Progress | None = None,
    service_client: ServiceClient | None = None,
    rest_client: RestClient | None = None,
) -> Comparison:
    """Measures several tutors on the same seeds, with the same student; `comparison_table` shows them side by side.

    Args:
        config: as for `evaluate`.
        tutors: the tutors, in any order. "base" is config.tutor_model_name, untrained; "teacher" is the teacher with
            its own prompt (`"teacher:<name>"` if there are several); "final" is the newest sampler weights of the run
            in config.log_path; a number such as "20" is those before that batch. Any other text is the path of sampler
            weights or the name of a base model.
        seeds: as for `evaluate`.
        progress: called after each dialogue, with the tutor's name, how many of its dialogues were played, and how many
            there are. An error that it raises ends the comparison.
        service_client: as for `train`.
        rest_client: as for `train`.

    Returns:
        The evaluations, by the names in `tutors`: a dict that a notebook shows as a table.

    Raises:
        ConfigError: no tutor is named, a tutor is named twice, or the config has no such teacher.
        CheckpointNotFound: the run has no such sampler weights, or the service has deleted them.
        RolloutError: more than `config.max_failed_fraction` of a tutor's dialogues failed.
        ServiceError: the service failed a call.
        EventLoopRunning: an asyncio loop already runs in this thread; await `compare_async`.
    """
    hand_over(config, service_client, rest_client)
    clients = {"service_client": service_client, "rest_client": rest_client}
    return run_blocking(lambda: compare_async(config, tutors, seeds=seeds, progress=progress, **clients), "compare")


async def compare_async(
    config: SocraticConfig,
    tutors: Sequence[str],
    *,
    seeds: Sequence[Seed] | None = None,
    progress: Progress | None = None,
    service_client: ServiceClient | None = None,
    rest_client: RestClient | None = None,
) -> Comparison:
    """The same as `compare`, on the asyncio loop that awaits it."""
    hand_over(config, service_client, rest_client)
    if not tutors or isinstance(tutors, str) or len(set(tutors)) < len(tutors):
        raise ConfigError(
            f'tutors is {tutors!r}; expected one or more names, each once, such as ["base", "teacher", "final"]'
        )
    seeds = evaluation_seeds(config) if seeds is None else seeds
    if not seeds:
        raise ConfigError("seeds is empty; give at least one seed to play on, or None for the config's")
    check_endpoints(config)
    check_files(config, "prompts", "judge", "answer_judge")  # before the first request to the service
    named = {name: named_weights(config, name) for name in tutors}
    say_which(config, named)
    service = await connect(config, service_client, rest_client)
    config, problems = await settle_models(with_known_names(config), service, [], is_trained=False)
    raise_all(problems)
    candidates = [await open_candidate(config, service, name, weights) for name, weights in named.items()]
    briefing = Briefing.read(config, seeds)
    check_verdicts(config, seeds)
    check_prompts(briefing.prompts, seeds, config.student_profile, briefing.routes)
    opened: dict[str, Evaluator] = {}
    evaluations = Comparison()
    for candidate, weights in zip(candidates, named.values(), strict=True):
        # One evaluator for each base model: its tokenizer and chat template must fit the teacher's.
        model = config.tutor_model_name if weights or candidate.client is None else candidate.tutor
        if model not in opened:
            tutor = candidate.client or await open_base(config, service)
            opened[model] = await Evaluator.open(
                config.model_copy(update={"tutor_model_name": model}), briefing, service, tutor, seeds
            )
        evaluations[candidate.name] = await opened[model].measure(candidate, progress)
    return evaluations


def evaluation_seeds(config: SocraticConfig) -> tuple[Seed, ...]:
    """The seeds that a config holds out of training, or all if it holds out none.

    Raises:
        SeedError: the seeds cannot be read.
        UntrustedConfig: the config was read from a run directory, and names files outside it.
    """
    seeds = seeds_of(config)
    return hold_out(seeds, config.eval_seeds)[1] if config.eval_seeds else seeds
