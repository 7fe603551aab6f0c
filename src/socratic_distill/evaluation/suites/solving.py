"""Problems that the tutor solves itself, counted by a rule: GSM8K, or any seeds file with answers."""

from collections.abc import Sequence

from socratic_distill.dialogues.answers.kinds import rule_of
from socratic_distill.dialogues.seed import BY_VERDICT
from socratic_distill.dialogues.seeds import load_seeds
from socratic_distill.errors import SeedError, SuiteError
from socratic_distill.evaluation.intervals import Part
from socratic_distill.evaluation.suites.suite import About, Answers, Figures, Item, Wish

_ASK = "{problem}\n\nThink step by step. Write the final answer on a last line of its own, after 'Final answer:'."


class Solving:
    """The suite."""

    measures_judge = False
    about = About(
        "gsm8k",
        "GSM8K",
        "MIT (GSM8K); of another file, its own",
        "test split of openai/grade-school-math",
        "A reply is right if the last answer that it gives equals the reference, compared as numbers, without examples "
        "in the prompt. Published figures often have eight examples in the prompt, and read the number after ####.",
        "GSM8K's test split as JSONL or Parquet, or any seeds file whose answers a rule reads",
    )

    def items(self, wish: Wish) -> tuple[list[Item], list[str]]:
        """An item for each problem."""
        try:
            seeds = load_seeds(wish.data, wish.limit)
        except SeedError as error:
            raise SuiteError(f"{error}; expected {self.about.data}") from error
        usable = [seed for seed in seeds if seed.is_checkable and seed.answer_kind not in BY_VERDICT]
        if not usable:
            raise SuiteError(f"{wish.data} has no problem whose answer a rule reads; expected {self.about.data}")
        items = [
            Item(f"gsm8k/{seed.id}", "gsm8k", _ASK.format(problem=seed.problem), cluster=seed.id, facts={"seed": seed})
            for seed in usable
        ]
        left_out = len(seeds) - len(usable)
        return items, [f"{left_out} problems have no answer that a rule reads"] if left_out else []

    def follow_up(self, items: Sequence[Item], answers: Answers, wish: Wish) -> list[Item]:
        """None."""
        return []

    def figures(self, items: Sequence[Item], answers: Answers, wish: Wish) -> Figures:
        """The share of right replies; one that was cut is judged by what it says."""
        replies = [(item, answers[item.id].text) for item in items if answers[item.id].error is None]
        right = [
            Part(item.cluster, float(rule_of(item.facts["seed"]).matches(reply, item.facts["seed"])))
            for item, reply in replies
        ]
        return Figures({"gsm8k/accuracy": right})
