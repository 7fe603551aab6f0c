"""The packaged tiny model: its files, its tokenizer, and what it says under which prompt."""

import json
import re
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ROOT = Path(str(files("socratic_distill")))
TINY = ROOT / "local" / "tiny"
SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"
PROFILE = "You are in sixth grade and like to understand things."

Talk = list[dict[str, str]]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return transformers.AutoTokenizer.from_pretrained(TINY)


@pytest.fixture(scope="module")
def model() -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32).eval()


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports a module of the project's scripts."""
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def load(name: str) -> Any:
        __import__(name)
        return sys.modules[name]

    return load


def read_seeds(name: str) -> list[dict[str, str]]:
    lines = (TINY / f"{name}_seeds.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def prompt_text(name: str, seed: dict[str, str]) -> str:
    text = (ROOT / "dialogues" / "prompts" / f"{name}.txt").read_text(encoding="utf-8").strip()
    for field, value in {"student_profile": PROFILE, **seed}.items():
        text = text.replace("{" + field + "}", value)
    return text


def tutor_talk(name: str, seed: dict[str, str]) -> Talk:
    """The tutor's view of an opening: the student's work and its wrong answer."""
    work = re.search(r"\d+ [-+x] .*= (\d+)", seed["initial_error"])
    assert work, seed
    return [
        {"role": "system", "content": prompt_text(name, seed)},
        {"role": "user", "content": f"I did {work[0]}. The answer is {work[1]}."},
    ]


def student_talk(seed: dict[str, str]) -> Talk:
    """The student's view before its opening."""
    return [
        {"role": "system", "content": prompt_text("student", seed)},
        {"role": "user", "content": prompt_text("student_opening", seed)},
    ]


def sample(model: Any, tokenizer: Any, talks: list[Talk], seed: int = 0) -> list[str]:
    texts = [tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True) for talk in talks]
    batch = tokenizer(
        texts, padding=True, padding_side="left", add_special_tokens=False, return_token_type_ids=False
    ).convert_to_tensors("pt")
    torch.manual_seed(seed)
    out = model.generate(**batch, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=60)
    replies = out[:, batch["input_ids"].shape[1] :]
    ended = (replies == tokenizer.eos_token_id).any(dim=1).float().mean()
    assert ended >= 0.98, f"only {ended:.0%} of the replies end by themselves within 60 tokens"
    return tokenizer.batch_decode(replies, skip_special_tokens=True)


def shares(replies: list[str], seeds: list[dict[str, str]]) -> tuple[float, float]:
    """Shares of replies that tell the answer, and that ask."""
    told = [seed["expected_answer"] in re.findall(r"\d+", r) for r, seed in zip(replies, seeds, strict=True)]
    return sum(told) / len(told), sum("?" in reply for reply in replies) / len(replies)


def test_tiny_model_is_small() -> None:
    size = sum(path.stat().st_size for path in TINY.iterdir())
    assert size <= 4 * 2**20, f"the tiny model takes {size} bytes of the package"


def test_tiny_model_is_a_llama_of_about_a_million_parameters(model: Any) -> None:
    assert model.config.architectures == ["LlamaForCausalLM"]
    assert 0.5e6 < sum(p.numel() for p in model.parameters()) < 1.5e6


def test_tiny_model_loads_as_float32_by_its_own_config() -> None:
    assert transformers.AutoModelForCausalLM.from_pretrained(TINY).dtype == torch.float32


def test_tiny_tokenizer_round_trips_all_seeds_and_prompts(tokenizer: Any) -> None:
    for seed in [*read_seeds("train"), *read_seeds("heldout")]:
        # All but what judges read, and the question after a dialogue: the tiny model is no judge.
        asked = {"judge", "answer_judge", "reward_judge", "reward_rubric", "student_final"}
        names = {path.stem for path in (ROOT / "dialogues" / "prompts").glob("*.txt")} - asked
        texts = [prompt_text(name, seed) for name in sorted(names)]
        for text in [*texts, *seed.values()]:
            if text == seed["id"]:
                continue
            ids = tokenizer.encode(text, add_special_tokens=False)
            assert tokenizer.unk_token_id not in ids, text
            assert tokenizer.decode(ids) == text


def test_tiny_tokenizer_gives_one_token_a_word_number_and_mark(tokenizer: Any) -> None:
    assert len(tokenizer.encode("Oh, 5 + 12 = 17.", add_special_tokens=False)) == 8
    assert tokenizer.encode("5+12=17", add_special_tokens=False) == tokenizer.encode(
        "5 + 12 = 17", add_special_tokens=False
    )


@pytest.mark.parametrize("with_system", [True, False])
def test_tiny_template_splits_at_message_borders_into_the_same_tokens(tokenizer: Any, with_system: bool) -> None:
    seed = read_seeds("heldout")[0]
    talk = [*tutor_talk("tutor", seed), {"role": "assistant", "content": "Should you add 5?"}]
    talk = talk if with_system else talk[1:]
    whole = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    parts = [part for part in re.split(r"(<\|\w+\|>)", whole) if part]
    split = [i for part in parts for i in tokenizer.encode(part, add_special_tokens=False)]
    assert split == tokenizer.encode(whole, add_special_tokens=False)
    assert whole.count("<|system|>") == with_system, "the template must add no system prompt of its own"
    assert whole.endswith("Should you add 5?<|end|><|assistant|>")


def test_tiny_template_marks_are_single_special_tokens(tokenizer: Any) -> None:
    for mark in ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"):
        ids = tokenizer.encode(mark, add_special_tokens=False)
        assert len(ids) == 1 and ids[0] in tokenizer.all_special_ids, mark
    assert tokenizer.eos_token == "<|end|>"
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)


def test_tiny_seeds_are_disjoint_and_hide_their_answers() -> None:
    train, heldout = read_seeds("train"), read_seeds("heldout")
    assert (len(train), len(heldout)) == (256, 128)
    questions = [seed["question"] for seed in [*train, *heldout]]
    assert len(set(questions)) == len(questions)
    for seed in [*train, *heldout]:
        shown = re.findall(r"\d+", seed["question"] + seed["initial_error"])
        assert seed["expected_answer"] not in shown, seed


def test_tiny_problems_are_split_by_their_key(scripts: Callable[[str], Any]) -> None:
    problems = scripts("tiny_problems")
    for split in ("heldout", "distill", "pretrain"):
        drawn = [problems.make_problem(Random(seed), split)[0] for seed in range(30)]
        assert {problem.split for problem in drawn} == {split}


def test_tiny_seed_files_are_what_the_script_draws(scripts: Callable[[str], Any]) -> None:
    draw = scripts("tiny_problems").seed_records
    for name, split in (("train", "distill"), ("heldout", "heldout")):
        seeds = read_seeds(name)
        assert list(draw(Random(2), split, len(seeds))) == seeds


def test_tiny_views_follow_from_the_seed_alone(scripts: Callable[[str], Any]) -> None:
    make_view = scripts("tiny_views").make_view
    first, again, other = ([make_view(rng) for _ in range(20)] for rng in (Random(3), Random(3), Random(4)))
    assert first == again
    assert first != other


def test_tiny_guiding_questions_never_hold_the_answer(scripts: Callable[[str], Any]) -> None:
    problems, dialogues, rng = scripts("tiny_problems"), scripts("tiny_dialogues"), Random(0)
    for _ in range(300):
        problem, mistake = problems.make_problem(rng, "pretrain")
        talk = dialogues.make_talk(rng, problem, mistake, ask_share=1.0, context=(), max_turns=4)
        for turn in talk.turns:
            assert turn.tutor.endswith("?")
            assert str(problem.answer) not in re.findall(r"\d+", turn.tutor), (problem, turn)


def test_tiny_tutor_mostly_tells_under_the_plain_prompt(model: Any, tokenizer: Any) -> None:
    seeds = read_seeds("heldout")[:64]
    told, asked = shares(sample(model, tokenizer, [tutor_talk("tutor", seed) for seed in seeds]), seeds)
    assert told >= 0.6, f"tells in {told:.0%}"
    assert 0.02 <= asked <= 0.4, f"asks in {asked:.0%}: it should ask now and then"


def test_tiny_tutor_asks_under_the_socratic_prompt(model: Any, tokenizer: Any) -> None:
    seeds = read_seeds("heldout")[:64]
    told, asked = shares(sample(model, tokenizer, [tutor_talk("teacher", seed) for seed in seeds]), seeds)
    assert asked >= 0.9, f"asks in {asked:.0%}"
    assert told <= 0.05, f"tells in {told:.0%}"


def test_tiny_student_opens_with_its_mistake(model: Any, tokenizer: Any) -> None:
    seeds = read_seeds("heldout")[:64]
    told, asked = shares(sample(model, tokenizer, [student_talk(seed) for seed in seeds]), seeds)
    assert told <= 0.1 and asked <= 0.1, (told, asked)


def test_tiny_student_takes_the_answer_that_the_tutor_tells(model: Any, tokenizer: Any) -> None:
    seeds = read_seeds("heldout")[:64]
    replies = sample(model, tokenizer, [tutor_talk("tutor", seed) for seed in seeds])
    told = [(seed, reply) for seed, reply in zip(seeds, replies, strict=True) if shares([reply], [seed])[0]]
    talks = [
        [
            *student_talk(seed),
            {"role": "assistant", "content": tutor_talk("tutor", seed)[-1]["content"]},
            {"role": "user", "content": reply},
        ]
        for seed, reply in told
    ]
    taken = shares(sample(model, tokenizer, talks), [seed for seed, _ in told])[0]
    assert taken >= 0.8, f"gives the answer in {taken:.0%} after it was told"
