"""Predicts how many tokens a run will use, from averages of its dialogues. Pure.

The numbers follow from the requests. A dialogue of n tutor turns makes n requests to the tutor, each with all earlier
turns, n requests to the student, and a share of its group's opening request. Scoring makes one request to each of its
teachers. Training uses the dialogue as one sequence. A prompt's common start with an earlier prompt is assumed to be
cached: the earlier turns and, within a group, the system prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.objectives import ObjectiveKind
from socratic_distill.config.parts import Judge
from socratic_distill.config.schedules import turns
from socratic_distill.config.trust import check_files
from socratic_distill.config.values import value
from socratic_distill.cost.costs import PricedPhase
from socratic_distill.cost.scores import asked_share, unscored_tokens
from socratic_distill.dialogues.batches import on_policy_before
from socratic_distill.dialogues.dialogue import ModelRole
from socratic_distill.dialogues.quotes import OF_TURN, PEER
from socratic_distill.dialogues.reward_judges import load_brief
from socratic_distill.dialogues.seeds import Seed
from socratic_distill.dialogues.verdicts import load_answer_prompt
from socratic_distill.evaluation.judge import load_judge_prompt
from socratic_distill.run.plan import Plan

Part = Literal["dialogues", "scoring", "rewards", "training", "evaluations"]

CHARACTERS_PER_TOKEN = 4.0
MESSAGE_TOKENS = 5  # tokens that a chat template adds to a message
TURN_TOKENS = 150  # default length of a turn without reasoning
_MOST_STEPS = 100_000  # of more steps, only about this many are averaged in `most_turns`


class Key(NamedTuple):
    """The purpose of tokens, the role of the model that processes them, and the phase that they are billed as."""

    part: Part
    role: ModelRole
    phase: PricedPhase


Tokens = dict[Key, float]


@dataclass(frozen=True)
class Talk:
    """Averages of dialogues.

    Attributes:
        turns: tutor turns in a dialogue, as a share of their maximum.
        tutor: tokens of a tutor turn.
        student: tokens of a student turn.
    """

    turns: float
    tutor: float
    student: float

    @classmethod
    def unknown(cls, config: SocraticConfig) -> "Talk":
        """The defaults: dialogues have all their turns, and a turn with thinking reaches its token limit."""
        student = config.student_max_tokens or config.max_tokens
        return cls(
            turns=1.0,
            tutor=config.max_tokens if _reasons(config.tutor_enable_thinking, config.tutor_reasoning) else TURN_TOKENS,
            student=student if _reasons(config.student_enable_thinking, config.student_reasoning) else TURN_TOKENS,
        ).within(config)

    def within(self, config: SocraticConfig) -> "Talk":
        """The same averages, with turns limited to the lengths that the config allows."""
        student = config.student_max_tokens or config.max_tokens
        return replace(self, tutor=min(self.tutor, config.max_tokens), student=min(self.student, student))


@dataclass(frozen=True)
class _Dialogue:
    """A dialogue of average length; all lengths in tokens.

    Attributes:
        turns: number of tutor turns.
        tutor: length of a tutor turn, with the tokens that the template adds.
        student: length of a student turn, with the tokens that the template adds.
        for_tutor: length of the tutor's prompt before the first turn.
        for_student: length of the student's prompt before the first turn.
        for_teacher: length of a teacher's prompt before the first turn.
        teachers: number of teachers that score it.
        each_turn: how many of those are asked about each turn on its own.
        peers: how many of those read another dialogue first.
        sharing: number of dialogues that share these prompts, itself included.
    """

    turns: float
    tutor: float
    student: float
    for_tutor: float
    for_student: float
    for_teacher: float
    teachers: float
    each_turn: float
    peers: float
    sharing: float

    @property
    def talk(self) -> float:
        """Length of all turns from the student's first to the tutor's last."""
        return self.turns * (self.tutor + self.student)

    def played(self, by_teacher: float = 0.0) -> Tokens:
        """The tokens of playing it; a teacher speaks this share of the tutor's turns."""
        n, tokens = self.turns, dict[Key, float]()
        own_tutor, own_student = self.tutor - MESSAGE_TOKENS, self.student - MESSAGE_TOKENS
        sent = n * self.for_tutor + n * (n + 1) / 2 * self.student + n * (n - 1) / 2 * self.tutor
        fresh = self.for_tutor / self.sharing + n * self.student
        own = 1.0 - by_teacher
        _add_request(tokens, "dialogues", "tutor", own * sent, own * fresh, own * n * own_tutor)
        if by_teacher:
            sent += n * (self.for_teacher - self.for_tutor)
            _add_request(
                tokens, "dialogues", "teacher", by_teacher * sent, by_teacher * sent, by_teacher * n * own_tutor
            )
        # The opening is one request of the whole group, so a dialogue bears its share of it; n answers follow.
        first = self.for_student / self.sharing
        sent = first + n * self.for_student + n * (n + 1) / 2 * (self.tutor + self.student)
        _add_request(tokens, "dialogues", "student", sent, first + n * self.tutor, (n + 1) * own_student)
        return tokens

    def scored(self, by_tutor: bool, unscored: float = 0.0) -> Tokens:
        """The tokens of scoring it.

        Args:
            by_tutor: whether the tutor scores it too.
            unscored: number of its last tokens that no teacher is asked about.
        """
        tokens, at_once, read = dict[Key, float](), self.teachers - self.each_turn, self.talk - unscored
        sent, fresh = self.for_teacher + read, self.for_teacher / self.sharing + read
        _add_request(tokens, "scoring", "teacher", at_once * sent, at_once * fresh, at_once)
        if self.each_turn:
            # The prompt quotes the student's next turn, so nothing after it is the same for two turns.
            n, teachers = self.turns, self.each_turn
            sent = n * (self.for_teacher + self.student) + n * (n + 1) / 2 * (self.tutor + self.student) - unscored
            _add_request(tokens, "scoring", "teacher", teachers * sent, teachers * sent, teachers * n)
        if self.peers:
            requests = self.turns if self.each_turn else 1.0
            _add_request(tokens, "scoring", "teacher", requests * self.peers * self.talk, self.peers * self.talk, 0.0)
        if by_tutor:
            _add_request(tokens, "scoring", "tutor", self.for_tutor + self.talk, self.talk, 1)
        return tokens

    def solved(self, samples: int, part: Part, *, has_before: bool = True) -> Tokens:
        """The tokens of the student's attempts after it, and before it; dialogues on a seed share those before."""
        tokens = dict[Key, float]()
        if samples:
            own, sharing = samples * (self.student - MESSAGE_TOKENS), self.sharing
            if has_before:
                _add_request(tokens, part, "student", self.for_student / sharing, 0.0, own / sharing)
            _add_request(tokens, part, "student", self.for_student + self.talk, self.tutor, own)
        return tokens

    def read_by(self, judge: Judge, prompt: float, part: Part) -> Tokens:
        """The tokens of a judge that reads it under a prompt of this length, in tokens."""
        tokens = dict[Key, float]()
        _add_request(tokens, part, "judge", prompt + self.talk, self.talk, min(TURN_TOKENS, judge.max_tokens))
        return tokens

    def trained(self, datums: int, forwards: int) -> Tokens:
        """The tokens of training on it."""
        sequence = self.for_tutor + self.talk - 1
        tokens = {Key("training", "tutor", "train"): datums * sequence}
        return tokens | ({Key("training", "tutor", "forward"): forwards * sequence} if forwards else {})


@dataclass(frozen=True)
class Workload:
    """The tokens that a run will use.

    Attributes:
        plan: plan of the run.
    """

    plan: Plan

    def steps(self, talk: Talk, first: int, stop: int) -> Tokens:
        """The tokens of the batches `[first, stop)`."""
        config, tokens = self.plan.config, dict[Key, float]()
        played, recorded = self._counts(first, stop)
        if played:
            most, has_rewards = self.most_turns(range(first, stop)), bool(config.rewards)
            dialogue = self._dialogue(self.plan.seeds, talk.within(config), most, config.num_envs)
            by_tutor = config.temperature != 1.0 or bool(config.objective.draws)
            has_region = config.trust_region is not None
            needs_forward = has_region or config.policy_needs_forward
            trained = dialogue.trained(*_passes(config.objective, has_rewards, needs_forward, has_region))
            judged = self._judged(self.plan.seeds, dialogue)
            scored = dialogue.scored(by_tutor, unscored_tokens(self.plan, _sample(range(first, stop)), dialogue.tutor))
            played_by = dialogue.played(
                _mean([value(config.teacher_turns, step) for step in _sample(range(first, stop))])
            )
            for of_dialogue in played_by, scored, trained, judged, self._rewards(dialogue):
                _add(tokens, of_dialogue, played)
        if recorded:
            self._add_recorded(tokens, recorded)
        return tokens

    def evaluations(self, talk: Talk, count: int) -> Tokens:
        """The tokens of `count` evaluations on the held-out seeds."""
        config, seeds = self.plan.config, self.plan.held_out
        if not (count and seeds):
            return {}
        per_seed, samples = config.eval_dialogues_per_seed, config.eval_solve_samples
        dialogue = self._dialogue(seeds, talk.within(config), config.max_turns, per_seed)
        times, tokens = count * len(seeds) * per_seed, dict[Key, float]()
        scored, solved = dialogue.scored(config.temperature != 1.0), dialogue.solved(samples, "evaluations")
        parts = [dialogue.played(), scored, solved, self._judged(seeds, dialogue)]
        if config.judge is not None:
            check_files(config, "judge")
            prompt = _prompt_tokens([len(load_judge_prompt(config.judge.prompt_file, config.subject))])
            parts.append(dialogue.read_by(config.judge, prompt, "evaluations"))
        for of_dialogue in parts:
            for key, number in of_dialogue.items():
                _put(tokens, key._replace(part="evaluations"), times * number)
        return tokens

    def _rewards(self, dialogue: _Dialogue) -> Tokens:
        """The tokens of the rewards of a dialogue, on average over the seeds."""
        config, seeds, tokens = self.plan.config, self.plan.seeds, dict[Key, float]()
        checkable = sum(seed.is_checkable for seed in seeds) / len(seeds) if seeds else 0.0
        for reward in config.rewards:
            if reward.kind == "solve_rate":
                tried = dialogue.solved(reward.samples, "rewards", has_before=reward.less_before)
                _add(tokens, tried, checkable)
                attempts = reward.samples * (1 + reward.less_before / dialogue.sharing)
                for key, number in self._judged(seeds, dialogue, attempts).items():
                    _put(tokens, key._replace(part="rewards"), number)
            elif reward.kind == "judge":
                check_files(config, "rewards")
                brief = load_brief(reward, config.subject)
                prompt = _prompt_tokens([len(brief.prompt) + len(brief.rubric)])
                _add(tokens, dialogue.read_by(reward, prompt, "rewards"), 1)
        return tokens

    def _judged(self, seeds: Sequence[Seed], dialogue: _Dialogue, texts: float | None = None) -> Tokens:
        """The tokens of the verdicts on `texts` turns, on average over the seeds; None: on those of the dialogue."""
        judge, tokens = self.plan.config.answer_judge, dict[Key, float]()
        if judge is None or not seeds:
            return tokens
        check_files(self.plan.config, "answer_judge")
        share = sum(seed.answer_kind == "judged" for seed in seeds) / len(seeds)
        requests = share * (2 * dialogue.turns + 1 if texts is None else texts)
        shared = _prompt_tokens([len(load_answer_prompt(judge.prompt_file))])
        own = (dialogue.tutor + dialogue.student) / 2
        sampled = requests * min(TURN_TOKENS, judge.max_tokens)
        _add_request(tokens, "dialogues", "judge", requests * (shared + own), requests * own, sampled)
        return tokens

    def most_turns(self, steps: Sequence[int]) -> float:
        """The maximum number of tutor turns, averaged over batches; of very many batches, over evenly spaced ones."""
        sample = _sample(steps)
        return sum(turns(self.plan.config, step) for step in sample) / len(sample)

    @property
    def recorded_turns(self) -> float:
        """Average number of tutor turns in a recording."""
        return _mean([len(recording.tutor_turns) for recording in self.plan.recordings])

    def _counts(self, first: int, stop: int) -> tuple[int, int]:
        """Numbers of played and of recorded dialogues in the batches `[first, stop)`."""
        config = self.plan.config
        if config.recordings is None:
            return (stop - first) * config.groups_per_batch * config.num_envs, 0
        size, share = config.groups_per_batch, config.recordings.on_policy_fraction
        played = on_policy_before(stop, size, share) - on_policy_before(first, size, share)
        return played * config.num_envs, (stop - first) * size - played

    def _add_recorded(self, tokens: Tokens, count: int) -> None:
        config, recordings = self.plan.config, self.plan.recordings
        assert config.recordings is not None, "recorded dialogues in a run without recordings"
        begun = config.recordings.take_over is not None
        objective = config.objective if begun else config.recordings.objective
        tutor = [_length(turn.text, turn.tokens) for recording in recordings for turn in recording.tutor_turns]
        student = [
            _length(turn.text, None) for recording in recordings for turn in recording.turns if turn.role == "student"
        ]
        talk, is_scored = Talk(1.0, _mean(tutor), _mean(student)), objective.asks_teacher
        seeds = [recording.seed for recording in recordings]
        dialogue = self._dialogue(seeds, talk, self.recorded_turns, 1, is_scored)
        if begun:  # each turn as if it were the tutor's own; a dialogue is as long as its recording
            count *= config.num_envs
            _add(tokens, dialogue.played(), count)
        if is_scored:
            by_tutor = bool(objective.draws or objective.tutor_top)
            _add(tokens, dialogue.scored(by_tutor), count * asked_share(self.plan))
        _add(tokens, dialogue.trained(*_passes(objective, False, config.policy_needs_forward)), count)

    def _dialogue(
        self, seeds: Sequence[Seed], talk: Talk, most: float, sharing: int, is_scored: bool = True
    ) -> _Dialogue:
        """The average dialogue on seeds that are equally likely; `most` is the maximum number of tutor turns."""
        briefing, profile = self.plan.briefing, self.plan.config.student_profile
        prompts = briefing.prompts
        taught_by = [(seed, name) for seed in seeds for name in briefing.routes[seed.id]] if is_scored else []
        teacher_prompts = [len(prompts.for_teacher(seed, profile, name)) for seed, name in taught_by]
        quoted = [prompts.quoted_by(name) for _, name in taught_by]
        opening = len(prompts.student_opening) / CHARACTERS_PER_TOKEN + MESSAGE_TOKENS
        return _Dialogue(
            turns=talk.turns * most,
            tutor=talk.tutor + MESSAGE_TOKENS,
            student=talk.student + MESSAGE_TOKENS,
            for_tutor=_prompt_tokens([len(prompts.for_tutor(seed)) for seed in seeds]),
            for_student=_prompt_tokens([len(prompts.for_student(seed, profile)) for seed in seeds]) + opening,
            for_teacher=_prompt_tokens(teacher_prompts),
            teachers=len(teacher_prompts) / len(seeds) if seeds else 0.0,
            each_turn=sum(OF_TURN in names for names in quoted) / len(seeds) if seeds else 0.0,
            # A recording has no group.
            peers=sum(PEER in names for names in quoted) / len(seeds) if seeds and sharing > 1 else 0.0,
            sharing=sharing,
        )


def _sample(steps: Sequence[int]) -> Sequence[int]:
    """The steps, or of very many evenly spaced ones."""
    return steps[:: max(1, len(steps) // _MOST_STEPS)]


def _passes(
    objective: ObjectiveKind, has_rewards: bool, policy_needs_forward: bool, soft_needs_forward: bool = False
) -> tuple[int, int]:
    """Number of training examples (datums) from one sequence, and how many of them are read forward first."""
    parts = objective.divergences
    is_policy = has_rewards or any(part.trains_sampled_tokens for part in parts)
    is_soft = any(not part.trains_sampled_tokens for part in parts)
    is_text = not objective.asks_teacher
    soft_forward = (is_soft and soft_needs_forward) or any(part.needs_forward for part in parts)
    forwards = (is_policy and policy_needs_forward) + soft_forward
    return int(is_policy or is_text) + is_soft, forwards


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


def _reasons(enable_thinking: bool, reasoning: str | None) -> bool:
    return enable_thinking if reasoning is None else reasoning != "off"
