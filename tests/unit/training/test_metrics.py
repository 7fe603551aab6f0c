import numpy as np
import pytest

from socratic_distill import Seed
from socratic_distill.dialogues.dialogue import Dialogue, Turn
from socratic_distill.distillation.datums import merge_turns
from socratic_distill.distillation.objective import make_examples
from socratic_distill.distillation.rows import dialogue_row
from socratic_distill.distillation.scoring import ScoredDialogue
from socratic_distill.training.metrics import answer_mask, dialogue_metrics, update_metrics


def decode(tokens):
    return "".join(chr(token) for token in tokens)


def turn(role, text):
    tokens = tuple(map(ord, text))
    return Turn(role, text, (1,), tokens, tokens, (-1.0,) * len(tokens), 0, "stop")


def scored_dialogue(*texts, answer="12"):
    dialogue = Dialogue(Seed("s", "q", answer), 3, 0)
    for text in texts:
        dialogue = dialogue.add(turn(dialogue.speaker, text), max_turns=2)
    sizes = [len(t.tokens) for t in dialogue.tutor_turns]
    return ScoredDialogue(
        dialogue,
        tuple(merge_turns((t.prompt, t.tokens) for t in dialogue.tutor_turns)),
        tuple(np.full(size, -1.0) for size in sizes),
        tuple(np.asarray([-float(i) for i in range(size)], dtype=np.float64) for size in sizes),
    )


def test_answer_mask_marks_the_tokens_that_spell_the_answer():
    text = "12 is not 112, but $12."
    mask = answer_mask(list(map(ord, text)), Seed("s", "?", "12"), decode)
    assert np.flatnonzero(mask).tolist() == [0, 1, 20, 21]


def test_dialogue_metrics_count_what_happened():
    told = scored_dialogue("11.", "No, 12.", "So 12.")
    asked = scored_dialogue("11.", "Why?", "Hm.", "How?", "It is 12.")
    at_start = scored_dialogue("12.")
    failed = ScoredDialogue(Dialogue(Seed("s", "q", "12"), 3, 0).end("failed", "boom"))
    row = dialogue_metrics([told, asked, at_start, failed], decode)
    assert (row["dialogues"], row["turns/tutor"]) == (4, 3)
    assert (row["first_reply/tells"], row["first_reply/asks"], row["solved"]) == (0.5, 0.5, 0.75)
    counts = {key.removeprefix("end/"): value for key, value in row.items() if key.startswith("end/") and value}
    assert counts == {"solved_after_tell": 1, "solved": 1, "solved_at_start": 1, "failed": 1}


def test_teacher_kl_is_the_mean_gap_with_answer_tokens_apart():
    row = dialogue_metrics([scored_dialogue("11.", "No 12", "So 12.")], decode)
    # "No 12" is five tokens, gaps -1 + [0, 1, 2, 3, 4]; the last two spell the answer.
    assert row["teacher_kl"] == pytest.approx(1.0)
    assert row["teacher_kl/answer"] == pytest.approx(2.5)
    assert row["teacher_kl/other"] == pytest.approx(0.0)


def test_metrics_of_an_empty_batch_are_none_not_nan():
    row = dialogue_metrics([], decode) | update_metrics([], [], {})
    assert row["teacher_kl"] is None and row["drift/max"] is None and row["datums"] == 0


def test_drift_looks_at_the_tutors_tokens_alone(make_config):
    (example,) = make_examples([[scored_dialogue("11.", "No.", "Hm.")]], make_config(), step=0)
    assert example.sampled is not None
    now = np.where(example.mask, example.sampled + 0.5, 99.0)
    row = update_metrics([example], [now], {"loss:sum": 1.0})
    assert row["drift/max"] == pytest.approx(0.5) and row["service/loss:sum"] == 1.0


def test_dialogue_row_keeps_the_log_probabilities_of_every_tutor_token():
    row = dialogue_row(scored_dialogue("11.", "No.", "Hm."), lambda tokens: list(decode(tokens)))
    student, tutor, _ = row["turns"]
    assert "tokens" not in student
    assert tutor["pieces"] == ["N", "o", "."]
    assert tutor["tutor_logprobs"] == [-1.0] * 3 and tutor["teacher_logprobs"] == [0.0, -1.0, -2.0]
