"""How many tokens a run asks for, from how its dialogues go on average. Pure.

The figures follow from how requests are made. A dialogue of n tutor turns has n requests to the tutor, each with all of
the talk so far, n to the student and a part in its group's opening; its scores are one request to each of its teachers;
and it is trained on as one sequence. What a prompt shares with an earlier one is taken to be cached: the talk so far,
and, within a group, what stands before the talk.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.objectives import ObjectiveKind
from socratic_distill.config.schedules import turns
from socratic_distill.config.trust import check_files
from socratic_distill.cost.costs import Phase
from socratic_distill.dialogues.batches import on_policy_before
from socratic_distill.dialogues.dialogue import ModelRole
from socratic_distill.dialogues.seeds import Seed
from socratic_distill.evaluation.judge import load_judge_prompt
from socratic_distill.run.plan import Plan

Part = Literal["dialogues", "scoring", "training", "evaluations"]

CHARACTERS_PER_TOKEN = 4.0
MESSAGE_TOKENS = 5  # that a chat template puts around a message
TURN_TOKENS = 150  # of a turn without reasoning, where nothing is known of turns
_MOST_STEPS = 100_000  # whose schedules are looked at one by one


class Key(NamedTuple):
    """What tokens are for, whose model works on them, and what it does."""

    part: Part
    role: ModelRole
    phase: Phase


Tokens = dict[Key, float]


@dataclass(frozen=True)
class Talk:
    """How dialogues go on average.

    Attributes:
        turns: tutor turns in a dialogue, as a share of the most that there may be.
        tutor: tokens of a tutor turn.
        student: tokens of a student turn.
    """

    turns: float
    tutor: float
    student: float

    @classmethod
    def unknown(cls, config: SocraticConfig) -> "Talk":
        """What is assumed where nothing is known: all turns are played; a turn that may think takes all its tokens."""
        student = config.student_max_tokens or config.max_tokens
        return cls(
            turns=1.0,
            tutor=config.max_tokens if config.tutor_enable_thinking else TURN_TOKENS,
            student=student if config.student_enable_thinking else TURN_TOKENS,
        ).within(config)

    def within(self, config: SocraticConfig) -> "Talk":
        """The same, no turn longer than the config allows."""
        student = config.student_max_tokens or config.max_tokens
        return replace(self, tutor=min(self.tutor, config.max_tokens), student=min(self.student, student))


@dataclass(frozen=True)
class _Dialogue:
    """A dialogue of average length; all lengths in tokens.

    Attributes:
        turns: tutor turns.
        tutor: a tutor turn, `student` a student's, each with what the template puts around it.
        own_tutor: a tutor turn alone, `own_student` a student's.
        for_tutor: what stands before the talk at the tutor, `for_student` at the student, `for_teacher` at a teacher.
        teachers: how many teachers score it.
        sharing: dialogues that share what stands before the talk, itself included.
    """

    turns: float
    tutor: float
    student: float
    for_tutor: float
    for_student: float
    for_teacher: float
    teachers: float
    sharing: float

    @property
    def talk(self) -> float:
        """All turns from the student's first to the tutor's last."""
        return self.turns * (self.tutor + self.student)

    def played(self) -> Tokens:
        """What playing it asks for."""
        n, tokens = self.turns, dict[Key, float]()
        own_tutor, own_student = self.tutor - MESSAGE_TOKENS, self.student - MESSAGE_TOKENS
        sent = n * self.for_tutor + n * (n + 1) / 2 * self.student + n * (n - 1) / 2 * self.tutor
        _add_request(
            tokens, "dialogues", "tutor", sent, self.for_tutor / self.sharing + n * self.student, n * own_tutor
        )
        # The opening is one request of the group; the answers follow.
        first = self.for_student / self.sharing
        sent = first + n * self.for_student + n * (n + 1) / 2 * (self.tutor + self.student)
        _add_request(tokens, "dialogues", "student", sent, first + n * self.tutor, (n + 1) * own_student)
        return tokens

    def scored(self, by_tutor: bool) -> Tokens:
        """What its scores ask for."""
        tokens, count = dict[Key, float](), self.teachers
        sent = self.for_teacher + self.talk
        fresh = self.for_teacher / self.sharing + self.talk
        _add_request(tokens, "scoring", "teacher", count * sent, count * fresh, count)
        if by_tutor:
            _add_request(tokens, "scoring", "tutor", self.for_tutor + self.talk, self.talk, 1)
        return tokens

    def solved(self, samples: int, dialogues: int) -> Tokens:
        """What the student's attempts before and after it ask for, of so many dialogues on a seed."""
        tokens = dict[Key, float]()
        if samples:
            own = samples * (self.student - MESSAGE_TOKENS)
            _add_request(tokens, "evaluations", "student", self.for_student / dialogues, 0.0, own / dialogues)
            _add_request(tokens, "evaluations", "student", self.for_student + self.talk, self.tutor, own)
        return tokens

    def trained(self, datums: int, forward: bool) -> Tokens:
        """What training on it asks for."""
        sequence = self.for_tutor + self.talk - 1
        tokens = {Key("training", "tutor", "train"): datums * sequence}
        return tokens | ({Key("training", "tutor", "forward"): sequence} if forward else {})


@dataclass(frozen=True)
class Workload:
    """What a run asks for.

    Attributes:
        plan: the run.
    """

    plan: Plan

    def steps(self, talk: Talk, first: int, stop: int) -> Tokens:
        """The tokens of the batches from `first` to before `stop`."""
        config, tokens = self.plan.config, dict[Key, float]()
        played, recorded = self._counts(first, stop)
        if played:
            most, has_rewards = self.most_turns(range(first, stop)), bool(config.rewards)
            one = self._dialogue(self.plan.seeds, talk.within(config), most, config.num_envs)
            by_tutor = config.temperature != 1.0 or bool(config.objective.draws)
            for each in one.played(), one.scored(by_tutor), one.trained(*_passes(config.objective, has_rewards)):
                _add(tokens, each, played)
        if recorded:
            self._add_recorded(tokens, recorded)
        return tokens

    def evaluations(self, talk: Talk, count: int) -> Tokens:
        """The tokens of `count` evaluations on the held-out seeds."""
        config, seeds = self.plan.config, self.plan.held_out
        if not (count and seeds):
            return {}
        each, samples = config.eval_dialogues_per_seed, config.eval_solve_samples
        one = self._dialogue(seeds, talk.within(config), config.max_turns, each)
        times, tokens = count * len(seeds) * each, dict[Key, float]()
        for asked in one.played(), one.scored(config.temperature != 1.0), one.solved(samples, each):
            for key, number in asked.items():
                _put(tokens, key._replace(part="evaluations"), times * number)
        if config.judge is not None:
            check_files(config, "judge")
            shared = _prompt_tokens([len(load_judge_prompt(config.judge.prompt_file))])
            sampled = times * min(TURN_TOKENS, config.judge.max_tokens)
            _add_request(tokens, "evaluations", "judge", times * (shared + one.talk), times * one.talk, sampled)
        return tokens

    def most_turns(self, steps: Sequence[int]) -> float:
        """The most tutor turns of a dialogue, on average over some batches; over very many, of an even choice."""
        some = steps[:: max(1, len(steps) // _MOST_STEPS)]
        return sum(turns(self.plan.config, step) for step in some) / len(some)

    @property
    def recorded_turns(self) -> float:
        """Tutor turns of a recording, on average."""
        return _mean([len(one.tutor_turns) for one in self.plan.recordings])

    def _counts(self, first: int, stop: int) -> tuple[int, int]:
        """Dialogues that are played, and recorded ones."""
        config = self.plan.config
        if config.recordings is None:
            return (stop - first) * config.groups_per_batch * config.num_envs, 0
        size, share = config.groups_per_batch, config.recordings.on_policy_fraction
        played = on_policy_before(stop, size, share) - on_policy_before(first, size, share)
        return played * config.num_envs, (stop - first) * size - played

    def _add_recorded(self, tokens: Tokens, count: int) -> None:
        config, recordings = self.plan.config, self.plan.recordings
        assert config.recordings is not None, "recorded dialogues in a run without recordings"
        objective = config.recordings.objective
        tutor = [_length(one.text, one.tokens) for each in recordings for one in each.tutor_turns]
        student = [_length(one.text, None) for each in recordings for one in each.turns[::2]]
        talk, is_scored = Talk(1.0, _mean(tutor), _mean(student)), objective.asks_teacher
        one = self._dialogue([each.seed for each in recordings], talk, self.recorded_turns, 1, is_scored)
        if is_scored:
            _add(tokens, one.scored(bool(objective.draws or objective.tutor_top)), count)
        _add(tokens, one.trained(*_passes(objective, False)), count)

    def _dialogue(
        self, seeds: Sequence[Seed], talk: Talk, most: float, sharing: int, is_scored: bool = True
    ) -> _Dialogue:
        """A dialogue on one of some seeds, all as likely."""
        briefing, profile = self.plan.briefing, self.plan.config.student_profile
        prompts = briefing.prompts
        asked = [(seed, name) for seed in seeds for name in briefing.routes[seed.id]] if is_scored else []
        taught = [len(prompts.for_teacher(seed, profile, name)) for seed, name in asked]
        opening = len(prompts.student_opening) / CHARACTERS_PER_TOKEN + MESSAGE_TOKENS
        return _Dialogue(
            turns=talk.turns * most,
            tutor=talk.tutor + MESSAGE_TOKENS,
            student=talk.student + MESSAGE_TOKENS,
            for_tutor=_prompt_tokens([len(prompts.for_tutor(seed)) for seed in seeds]),
            for_student=_prompt_tokens([len(prompts.for_student(seed, profile)) for seed in seeds]) + opening,
            for_teacher=_prompt_tokens(taught),
            teachers=len(taught) / len(seeds) if seeds else 0.0,
            sharing=sharing,
        )


def _passes(objective: ObjectiveKind, has_rewards: bool) -> tuple[int, bool]:
    """Examples that a sequence gives, and whether one of them is read forward first."""
    parts = objective.divergences
    is_policy = has_rewards or any(part.trains_sampled_tokens for part in parts)
    is_soft = any(not part.trains_sampled_tokens for part in parts)
    is_text = not objective.asks_teacher
    return int(is_policy or is_text) + is_soft, any(part.needs_forward for part in parts)


def _add_request(tokens: Tokens, part: Part, role: ModelRole, sent: float, fresh: float, sampled: float) -> None:
    fresh = min(fresh, sent)
    _put(tokens, Key(part, role, "prefill"), fresh)
    _put(tokens, Key(part, role, "cached_prefill"), sent - fresh)
    _put(tokens, Key(part, role, "sample"), sampled)


def _add(tokens: Tokens, others: Tokens, times: float) -> None:
    for key, number in others.items():
        _put(tokens, key, times * number)


def _put(tokens: Tokens, key: Key, number: float) -> None:
    tokens[key] = tokens.get(key, 0.0) + number


def _length(text: str, tokens: Sequence[int] | None) -> float:
    return float(len(tokens)) if tokens else len(text) / CHARACTERS_PER_TOKEN


def _prompt_tokens(characters: Sequence[int]) -> float:
    return _mean(characters) / CHARACTERS_PER_TOKEN + MESSAGE_TOKENS


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
