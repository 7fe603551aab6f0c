import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.support.rows import write_rows

from socratic_distill import Seed, SocraticConfig
from socratic_distill.config.named_models import with_known_names
from socratic_distill.dialogues.briefing import Briefing
from socratic_distill.dialogues.prompts import load_prompts
from socratic_distill.dialogues.seeds import seeds_of
from socratic_distill.errors import RecordingError
from socratic_distill.run import drift as drift_module
from socratic_distill.run.drift import Change, changes, describe_drift, digest, fingerprint, free_changes

MEANING, MAY_CHANGE = (*drift_module._MEANING, *drift_module._LATER), drift_module.MAY_CHANGE

# Another value for each field that is not a file.
OTHER: dict[str, Any] = {
    "tutor_model_name": "other", "student_model_name": "other", "teacher_model_name": "other", "learning_rate": 0.5,
    "max_tokens": 13, "log_path": "elsewhere", "student_profile": "You are shy.", "groups_per_batch": 4, "num_envs": 3,
    "max_turns": 3, "seeds_limit": 2, "answer_kind": "none", "base_url": "local", "load_checkpoint_path": "tinker://a/weights/b",
    "opening_timeout_seconds": 5.0, "answer_timeout_seconds": 600.0,
    "trust_remote_code": True, "kl_penalty_coef": 0.5, "kl_discount_factor": 0.5, "loss_fn": "ppo",
    "teacher_sees_answer": True, "lora_rank": 8, "lora_targets": ("attention",), "temperature": 0.7,
    "student_max_tokens": 7,
    "max_context_tokens": 999, "tutor_enable_thinking": True, "student_enable_thinking": True,
    "teacher_enable_thinking": True, "epochs": 2, "max_steps": 9, "save_every": 3, "save_every_seconds": 60.0,
    "rolling_save_every": 1, "sampler_ttl_seconds": 7200, "periodic_ttl_seconds": 7200, "rolling_ttl_seconds": 3600,
    "max_failed_saves": 5, "max_recoveries": 5, "allow_config_changes": ("lora_rank",), "seed": 1,
    "max_concurrent_dialogues": 5, "max_failed_fraction": 0.5, "display": "plain", "max_staleness": 2,
    "groups_per_minibatch": 2, "objective": {"kind": "forward_kl"}, "rewards": [{"kind": "solved"}],
    "reward_coef": 0.5, "cut_replies": "mask", "cut_penalty": 2.0, "train_thinking": False, "skip_first_tokens": 1,
    "teacher_checkpoint_path": "tinker://a/sampler_weights/b", "teachers": [{"name": "one"}], "system_role": "merge",
    "lr_schedule": "cosine", "lr_warmup_steps": 2, "adam_beta1": 0.8, "adam_beta2": 0.99, "adam_eps": 1e-8,
    "weight_decay": 0.1, "grad_clip_norm": 1.0, "num_substeps": 3, "teacher_lag_steps": 4,
    "max_turns_schedule": {"start": 1.0, "end": 2.0, "steps": 4}, "eval_every": 2, "eval_seeds": 1,
    "eval_dialogues_per_seed": 2, "eval_solve_samples": 4, "judge": {"model_name": "other"}, "write_report": True,
    "write_teacher_top": True, "score_untrained": True,
    "trackers": ["tensorboard"], "tracker_project": "other", "tracker_name": "other",
    "tutor_reasoning": "on", "student_reasoning": "on", "teacher_reasoning": "low",
    "tutor_template_options": {"a": 1}, "student_template_options": {"a": "b"}, "teacher_template_options": {"a": True},
    "subject": "algebra", "students": [{"name": "one"}], "opening": "tutor",
    "endings": [{"kind": "phrase", "phrase": "Bye"}],
    "answer_function": "rules:right", "answer_judge": {"model_name": "other"},
    "token_weights": [{"kind": "prefix", "tokens": 3}],
    "solved_range": {"low": 0.2}, "teacher_turns": 0.5, "max_probability_change": 0.5,
    "loss_fn_options": {"clip_low_threshold": 0.5},
    "prices": {"small": {"prefill": 1.0, "sample": 1.0, "train": 1.0}}, "max_cost_usd": 5.0,
}  # fmt: skip
PROMPT_FILES = ("tutor_prompt_file", "student_prompt_file", "teacher_prompt_file")
TEMPLATE_FILES = ("tutor_chat_template_file", "student_chat_template_file", "teacher_chat_template_file")
# Four fields, one content: the meaning holds it as "seeds".
SEED_FIELDS = {"seeds_file", "seeds_limit", "seeds_files", "answer_kind"}


def meaning_of(config: SocraticConfig) -> dict[str, str]:
    config = with_known_names(config)
    seeds = seeds_of(config)
    return fingerprint(config, seeds, Briefing.read(config, seeds))


@pytest.fixture
def other_value(tmp_path: Path):
    """Config fields that change one field's meaning."""

    def value(name: str) -> dict[str, Any]:
        other = tmp_path / "other.txt"
        if name in (*PROMPT_FILES, *TEMPLATE_FILES):
            other.write_text("Speak of {question}.")
            return {name: other}
        if name == "seeds_file":
            other.write_text('{"question": "1 + 1?", "expected_answer": "2"}\n')
            return {name: other}
        if name == "seeds_files":
            other.write_text('{"question": "1 + 1?", "expected_answer": "2"}\n')
            return {"seeds_file": None, name: [(other, None)]}
        if name == "recordings":
            other.write_text('{"messages": []}\n')
            return {name: {"files": [other]}}
        if name == "teacher_average":
            return {name: "mixture", "teachers": [{"name": "one"}, {"name": "two"}]}
        if name == "teacher_residual_clip":
            return {name: 2.0, "teacher_average": "log_mean", "teachers": [{"name": "one"}, {"name": "two"}]}
        if name == "loss_fn_options":
            return {name: OTHER[name], "loss_fn": "ppo"}
        if name == "reward_normalization":
            return {name: "group", "rewards": [{"kind": "solved"}]}
        if name == "eval_every":
            return {name: OTHER[name], "eval_seeds": 1}
        return {name: OTHER[name]}

    return value


def test_every_field_either_decides_the_meaning_or_may_change():
    assert sorted([*MEANING, *MAY_CHANGE]) == sorted(SocraticConfig.model_fields)


@pytest.mark.parametrize("name", MEANING)
def test_field_that_decides_the_meaning_changes_it_and_is_named(make_config, other_value, name):
    before, now = meaning_of(make_config()), meaning_of(make_config(**other_value(name)))
    stored = {"seeds"} if name in SEED_FIELDS else {name}
    # What the teacher is told is part of its prompt; the tutor's longest reply is the student's too, by default.
    also = {"teacher_sees_answer": {"teacher_prompt_file"}, "max_tokens": {"student_max_tokens"}}
    also |= {"subject": set(PROMPT_FILES), "endings": {"tutor_prompt_file"}}  # which stand in prompts
    also |= {"teacher_average": {"teachers"}}  # which needs two of them
    also |= {"teacher_residual_clip": {"teachers", "teacher_average"}}  # which it bounds
    also |= {"loss_fn_options": {"loss_fn"}}  # which has to take them
    also |= {"reward_normalization": {"rewards"}}  # which it normalises
    stored |= also.get(name, set())
    found = changes(before, now, ())
    assert {one.field for one in found} == stored
    unknown = "not known"  # of fields that older fingerprints lack, while they are at their defaults
    assert all((one.before, one.now) == (before.get(one.field, unknown), now[one.field]) for one in found)
    assert digest(before) != digest(now)
    assert changes(before, now, [name, *stored]) == []


def test_loss_options_count_by_what_is_sent(make_config):
    clip = {"clip_low_threshold": 0.8, "clip_high_threshold": 1.3}
    before = meaning_of(make_config(loss_fn="ppo"))
    assert meaning_of(make_config(loss_fn="ppo", loss_fn_options={"clip_low_threshold": 0.8})) == before
    now = meaning_of(make_config(loss_fn="ppo", loss_fn_options={"clip_high_threshold": 1.3}))
    assert meaning_of(make_config(loss_fn="ppo", loss_fn_options=dict(reversed(clip.items())))) == now
    assert [(one.field, one.now) for one in changes(before, now, ())] == [("loss_fn_options", str(clip))]


@pytest.mark.parametrize("name", MAY_CHANGE)
def test_field_that_may_change_leaves_the_meaning(make_config, other_value, name):
    other = other_value(name)
    base = {also: value for also, value in other.items() if also != name}  # what the field needs beside it
    before, now = meaning_of(make_config(**base)), meaning_of(make_config(**other))
    assert changes(before, now, ()) == [] and digest(before) == digest(now)


def test_every_other_value_is_another_value(make_config):
    config = make_config()
    assert [name for name, value in OTHER.items() if getattr(config, name) == value] == []


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("Qwen3-8B", "Qwen/Qwen3-8B"),
        ("Kimi-K2-Thinking", "moonshotai/Kimi-K2-Thinking"),
        ("Qwen3-35B-A22B-Instruct", "Qwen/Qwen3-235B-A22B-Instruct-2507"),
    ],
)
@pytest.mark.parametrize("role", ["tutor", "student", "teacher"])
def test_another_name_of_the_same_model_is_the_same_meaning(make_config, short, full, role):
    field = f"{role}_model_name"
    first, second = meaning_of(make_config(**{field: short})), meaning_of(make_config(**{field: full}))
    assert first == second and digest(first) == digest(second)


def test_seeds_are_compared_by_content_not_by_file_or_id(make_config, seeds_file, tmp_path):
    rows = [json.loads(line) for line in seeds_file.read_text().splitlines()]
    first, second, renamed = tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "c.jsonl"
    write_rows(first, *rows[:2])
    write_rows(second, *rows[2:])
    renamed.write_text("\n".join(json.dumps({**row, "id": f"new-{row['id']}"}) for row in rows))
    before = meaning_of(make_config())
    assert meaning_of(make_config(seeds_file=renamed, seeds_limit=6)) == before
    assert meaning_of(make_config(seeds_file=None, seeds_files=[(first, None), (second, None)])) == before
    assert meaning_of(make_config(seeds_file=None, seeds_files=[(second, None), (first, None)])) != before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("question", "other?"),
        ("expected_answer", "7"),
        ("initial_error", None),
        ("student_profile", "shy"),
        ("fields", (("hint", "Draw it."),)),
        ("tags", ("algebra",)),
    ],
)
def test_any_part_of_any_seed_counts(make_config, field, value):
    config, seeds = make_config(), [Seed("a", "1 + 1?", "2", "3"), Seed("b", "2 + 2?", "4", "5")]
    briefing = Briefing.read(config, seeds)
    other = [seeds[0], dataclasses.replace(seeds[1], **{field: value})]
    found = changes(fingerprint(config, seeds, briefing), fingerprint(config, other, briefing), ())
    assert [one.field for one in found] == ["seeds"]
    assert found[0].before.startswith("2 seeds, ") and found[0].before != found[0].now


def test_seeds_of_another_file_and_order_of_tags_are_the_same_meaning(make_config):
    config, briefing = make_config(), Briefing.read(make_config(), ())
    one = Seed("a", "1 + 1?", "2", fields=(("hint", "x"), ("steps", "1")), tags=("a", "b"), source="a.jsonl")
    other = dataclasses.replace(one, id="b", source="b.jsonl", tags=("b", "a"), fields=one.fields[::-1])
    assert fingerprint(config, [one], briefing) == fingerprint(config, [other], briefing)


def test_prompts_are_compared_by_content_not_by_file(make_config, tmp_path):
    packaged = load_prompts(make_config())
    copy = tmp_path / "tutor.txt"
    copy.write_text(packaged.tutor + "\n")
    assert meaning_of(make_config(tutor_prompt_file=copy)) == meaning_of(make_config())
    before = meaning_of(make_config(tutor_prompt_file=copy))
    copy.write_text("Ask.")
    found = changes(before, meaning_of(make_config(tutor_prompt_file=copy)), ())
    assert [one.field for one in found] == ["tutor_prompt_file"]


@pytest.fixture
def taught(make_config, tmp_path):
    """A builder of configs with three teachers; `changes` are of fields, `second` of the second teacher's."""
    prompt, tagged, rest = tmp_path / "second.txt", tmp_path / "tagged.jsonl", tmp_path / "rest.jsonl"
    prompt.write_text("Ask of {question}.")
    row = {"question": "1 + 1?", "expected_answer": "2"}
    tagged.write_text(json.dumps(row | {"tags": ["a"]}) + "\n" + json.dumps(row | {"tags": ["b"]}) + "\n")
    write_rows(rest, row)

    def make(*, second: dict[str, Any] | None = None, first: dict[str, Any] | None = None, **fields: Any):
        own = {"name": "second", "tags": ["b"], "prompt_file": prompt} | (second or {})
        teachers = [{"name": "first"} | (first or {}), own, {"name": "third", "seeds_files": [rest]}]
        files = [(tagged, None), (rest, None)]
        return make_config(**({"seeds_file": None, "seeds_files": files, "teachers": teachers} | fields))

    return make


@pytest.mark.parametrize(
    "second",
    [
        {"name": "other"},
        {"model_name": "other"},
        {"checkpoint_path": "tinker://a/sampler_weights/b"},
        {"lag_steps": 2},
        {"prompt_file": None},
        {"sees_answer": True},
        {"enable_thinking": True},
        {"weight": 2.0},
        {"tags": ["a"]},
        {"tags": ["a", "b"]},
    ],
    ids=str,
)
def test_change_of_one_of_several_teachers_is_the_only_one_named(taught, second):
    before = meaning_of(taught(teacher_average="mixture"))
    found = changes(before, meaning_of(taught(teacher_average="mixture", second=second)), ())
    assert [one.field for one in found] == ["teachers"]


def test_change_of_what_several_teachers_share_is_named_where_it_was_made(taught, tmp_path):
    shared = tmp_path / "shared.txt"
    shared.write_text("Speak.")
    before = meaning_of(taught())
    for fields in ({"teacher_model_name": "other"}, {"teacher_enable_thinking": True}, {"teacher_prompt_file": shared}):
        found = changes(before, meaning_of(taught(**fields)), ())
        assert [one.field for one in found] == list(fields)


def test_content_of_a_teachers_own_prompt_counts_and_its_path_does_not(taught, tmp_path):
    before, copy = meaning_of(taught()), tmp_path / "copy.txt"
    copy.write_text("Ask of {question}.\n")
    assert meaning_of(taught(second={"prompt_file": copy})) == before
    copy.write_text("Ask.")
    found = changes(before, meaning_of(taught(second={"prompt_file": copy})), ())
    assert [one.field for one in found] == ["teachers"]


def test_teacher_that_spells_out_what_it_would_have_anyway_is_no_change(taught, make_config):
    spelt_out = {"model_name": "Qwen/Qwen3-8B", "enable_thinking": False, "sees_answer": False, "weight": 1.0}
    fields = {"teacher_model_name": "Qwen3-8B"}
    assert meaning_of(taught(first=spelt_out, **fields)) == meaning_of(taught(**fields))


def test_files_route_by_the_teachers_that_each_seed_gets(taught, tmp_path):
    before = meaning_of(taught())
    tagged, rest, renamed = tmp_path / "tagged.jsonl", tmp_path / "rest.jsonl", tmp_path / "renamed.jsonl"
    renamed.write_bytes(rest.read_bytes())
    second = {"name": "second", "tags": ["b"], "prompt_file": tmp_path / "second.txt"}

    def routed(third: Path, *files: Path) -> dict[str, str]:
        teachers = [{"name": "first"}, second, {"name": "third", "seeds_files": [third]}]
        return meaning_of(taught(teachers=teachers, seeds_files=[(path, None) for path in files]))

    assert routed(renamed, tagged, renamed) == before
    lines = tagged.read_text().splitlines(keepends=True)
    first, more = tmp_path / "first.jsonl", tmp_path / "more.jsonl"
    first.write_text(lines[0])
    more.write_text(lines[1])
    assert [one.field for one in changes(before, routed(first, first, more, rest), ())] == ["teachers"]


def test_recorded_seeds_count_through_their_teachers(taught):
    config = taught()
    seeds, briefing = seeds_of(config), Briefing.read(config, ())
    first, second = (Seed("r", "q", "1", tags=tags) for tags in ((), ("b",)))
    before, now = (fingerprint(config, seeds, briefing, [one]) for one in (first, second))
    assert [one.field for one in changes(before, now, ())] == ["teachers"]


def test_recordings_are_compared_by_content_and_settings_not_by_path(make_config, tmp_path):
    first, copy = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_text('{"messages": []}\n')
    copy.write_text('{"messages": []}\n')
    before = meaning_of(make_config(recordings={"files": [first]}))
    assert meaning_of(make_config(recordings={"files": [copy]})) == before
    copy.write_text('{"messages": []}\n\n')
    for other in ({"files": [copy]}, {"files": [first, copy]}, {"files": [first], "on_policy_fraction": 0.5},
                  {"files": [first], "objective": {"kind": "forward_kl"}}):  # fmt: skip
        found = changes(before, meaning_of(make_config(recordings=other)), ())
        assert [one.field for one in found] == ["recordings"], other


def test_recordings_file_that_is_gone_by_now_is_named(make_config, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"messages": []}\n')
    config = make_config(recordings={"files": [path]})
    path.unlink()
    with pytest.raises(RecordingError, match=r"a\.jsonl' cannot be read \(No such file"):
        meaning_of(config)


def test_parts_of_a_config_are_stored_as_json(make_config):
    config = make_config(objective={"kind": "forward_kl", "k": 4}, rewards=[{"kind": "solved"}, {"kind": "few_turns"}])
    meaning = meaning_of(config)
    assert json.loads(meaning["objective"]) == {"kind": "forward_kl", "k": 4, "tail": "renormalize"}
    assert [reward["kind"] for reward in json.loads(meaning["rewards"])] == ["solved", "few_turns"]


def test_default_spelt_out_is_no_change(make_config):
    before = meaning_of(make_config())
    assert meaning_of(make_config(student_max_tokens=12, lora_rank=32, temperature=1.0)) == before
    objective = {"kind": "sampled_reverse_kl", "baseline": "none", "advantage_clip": None}
    assert meaning_of(make_config(objective=objective)) == before


def test_fingerprint_survives_its_file_and_its_digest_ignores_field_order(make_config):
    meaning = meaning_of(make_config())
    stored = json.loads(json.dumps(meaning))
    assert stored == meaning and changes(stored, meaning, ()) == []
    assert digest(dict(reversed(stored.items()))) == digest(meaning)
    assert re.fullmatch(r"[0-9a-f]{16}", digest(meaning))


def test_run_of_unknown_meaning_has_not_drifted_from_it(make_config):
    assert changes(None, meaning_of(make_config()), ()) == []


def test_field_that_one_side_lacks_is_named_as_not_known():
    found = changes({"a": "1", "gone": "2"}, {"a": "1", "new": "3"}, ())
    assert found == [Change("gone", "2", "not known"), Change("new", "not known", "3")]


@pytest.mark.parametrize("allowed", ["seeds", "seeds_file", "seeds_limit", "seeds_files"])
def test_other_seeds_pass_under_any_of_their_names_and_nothing_else_does(allowed):
    before, now = {"seeds": "6 seeds", "seed": "0"}, {"seeds": "7 seeds", "seed": "1"}
    assert changes(before, now, [allowed]) == [Change("seed", "0", "1")]
    assert [one.field for one in changes(before, now, ["seed"])] == ["seeds"]


def test_description_is_a_table_of_fields_with_the_ways_out():
    drift = [Change("lora_rank", "32", "8"), Change("seeds", "6 seeds, sha256 a", "7 seeds, sha256 b")]
    head, *table, ways_out = describe_drift("runs/a", drift).splitlines()
    assert "runs/a" in head
    assert table == [
        "  field      this run           now",
        "  lora_rank  32                 8",
        "  seeds      6 seeds, sha256 a  7 seeds, sha256 b",
    ]
    assert "allow_config_changes=['lora_rank', 'seeds']" in ways_out and "another log_path" in ways_out


def test_named_way_out_is_one_that_the_config_takes(make_config):
    before, now = meaning_of(make_config()), meaning_of(make_config(seeds_limit=3, lora_rank=8, tutor_model_name="x"))
    named = [one.field for one in changes(before, now, ())]
    assert changes(before, now, make_config(allow_config_changes=named).allow_config_changes) == []


def test_free_changes_are_those_of_fields_that_may_change(make_config):
    before = json.loads(make_config().model_dump_json())
    now = json.loads(make_config(learning_rate=0.5, lora_rank=8, allow_config_changes=["lora_rank"]).model_dump_json())
    assert free_changes(before, before) == []
    assert free_changes(before, now) == [
        Change("learning_rate", "0.1", "0.5"),
        Change("allow_config_changes", "[]", "['lora_rank']"),
    ]
