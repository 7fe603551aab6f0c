import json
from typing import Any

import pytest
from pydantic import ValidationError

from socratic_distill import SocraticConfig, build_socratic_config
from socratic_distill.config.objectives import (
    ForwardKL,
    JensenShannon,
    Mixture,
    MonteCarloKL,
    ReverseKL,
    SampledReverseKL,
    Supervised,
    Weighted,
)
from socratic_distill.config.parts import Recordings, Teacher
from socratic_distill.config.rewards import FunctionReward, OutcomeReward
from socratic_distill.config.values import Schedule
from socratic_distill.errors import ConfigError

FORWARD = {"kind": "forward_kl"}
SAMPLED = {"kind": "sampled_reverse_kl"}
SOLVED = {"kind": "solved"}
LAGGED = {"name": "old", "lag_steps": 5}
TWO_TEACHERS = [{"name": "a"}, {"name": "b"}]


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "talks.jsonl"
    path.write_text("")
    return str(path)


def config(**changes: Any) -> SocraticConfig:
    fields: dict[str, Any] = dict(
        tutor_model_name="small", student_model_name="pupil", teacher_model_name="small", learning_rate=0.1,
        max_tokens=12, log_path="run", groups_per_batch=6, max_turns=8,
    )  # fmt: skip
    return build_socratic_config(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(objective=FORWARD, kl_discount_factor=0.5),
         r"kl_discount_factor=0.5 has no effect on forward_kl; it works only with 'sampled_reverse_kl'"),
        (dict(objective={"kind": "mixture", "parts": [{"objective": FORWARD}, {"objective": {"kind": "reverse_kl"}}]},
              kl_discount_factor=1.0),
         r"kl_discount_factor=1.0 has no effect on forward_kl, reverse_kl"),
        (dict(objective=FORWARD, loss_fn="ppo"), r"loss_fn='ppo' has no effect on forward_kl, .* leave it out, or add"),
        (dict(objective={"kind": "jensen_shannon"}, loss_fn="cispo"), r"loss_fn='cispo' has no effect on jensen"),
        (dict(objective=FORWARD, loss_fn_options={"beta": 0.1}),
         r"loss_fn_options=\{'beta': 0.1\} has no effect on forward_kl"),
        (dict(objective=FORWARD, max_probability_change=0.5), r"max_probability_change=0.5 has no effect on forward"),
        (dict(loss_fn_options={"beta": 0.1}),
         r"loss_fn_options are set, but 'importance_sampling' takes none; leave them out, or set loss_fn to one of"),
        (dict(loss_fn="ppo", loss_fn_options={"beta": 0.1}),
         r"loss_fn_options has 'beta'; 'ppo' takes clip_low_threshold \(0 to 1\) and clip_high_threshold \(1 or m"),
        (dict(loss_fn="dro", loss_fn_options={"clip_low_threshold": 0.5}),
         r"has 'clip_low_threshold'; 'dro' takes beta \(0 or more\)"),
        (dict(loss_fn="cispo", loss_fn_options={"clip_low_threshold": 1.1}),
         r"loss_fn_options.clip_low_threshold=1.1; 'cispo' takes clip_low_threshold \(0 to 1\) and clip_high"),
        (dict(loss_fn="gspo", loss_fn_options={"clip_high_threshold": 0.9}), r"clip_high_threshold=0.9; 'gspo' takes"),
        (dict(loss_fn="dro", loss_fn_options={"beta": float("nan")}), r"loss_fn_options.beta=nan; 'dro' takes beta"),
        (dict(loss_fn="ppo", loss_fn_options={"clip_high_threshold": float("inf")}), r"threshold=inf; 'ppo' takes"),
        (dict(objective={"kind": "sampled_reverse_kl", "baseline": "group"}, num_envs=1),
         r"baseline='group' compares the dialogues of a group; set num_envs to 2 or more"),
        (dict(objective={"kind": "mixture", "parts": [
            {"objective": {"kind": "sampled_reverse_kl", "baseline": "group"}}, {"objective": FORWARD}]}, num_envs=1),
         r"baseline='group' compares the dialogues of a group"),
        (dict(rewards=[SOLVED], num_envs=1), r"rewards are compared with the mean of the group; set num_envs to 2"),
        (dict(teachers=[{"name": "a"}, {"name": "b"}, {"name": "a"}]),
         r"teachers holds the name 'a' more than once; give each its own"),
        (dict(teachers=[{"name": "a"}], teacher_checkpoint_path="tinker://x/sampler_weights/1"),
         r"teacher_checkpoint_path and teacher_lag_steps describe a single teacher; with teachers, set checkpoint"),
        (dict(teachers=[{"name": "a"}], teacher_lag_steps=3), r"describe a single teacher"),
        (dict(teacher_checkpoint_path="weights", teacher_lag_steps=3),
         r"teacher_checkpoint_path='weights' and teacher_lag_steps=3 are both set; keep one: a teacher scores with"),
        (dict(teacher_average="mixture"), r"teacher_average='mixture' needs two teachers or more in teachers"),
        (dict(teacher_average="log_mean", teachers=[{"name": "a"}]), r"teacher_average='log_mean' needs two teachers"),
        (dict(teacher_average="log_mean", teachers=TWO_TEACHERS, objective=FORWARD),
         r"'forward_kl' needs one teacher's likeliest tokens, .*; use 'sampled_reverse_kl' or 'monte_carlo"),
        (dict(teacher_average="mixture", teachers=TWO_TEACHERS, objective={"kind": "mixture", "parts": [
            {"objective": SAMPLED}, {"objective": {"kind": "reverse_kl"}}]}),
         r"'reverse_kl' needs one teacher's likeliest tokens"),
        (dict(teacher_lag_steps=5, teacher_model_name="big"),
         r"teacher 'teacher' scores with the tutor's own weights, but its model is 'big' and the tutor's is 'small'; "
         r"name the same model"),
        (dict(teachers=[LAGGED], teacher_model_name="big"), r"teacher 'old' scores .* its model is 'big'"),
        (dict(teachers=[LAGGED | {"model_name": "other"}]), r"teacher 'old' scores .* its model is 'other'"),
        (dict(groups_per_batch=6, num_substeps=4),
         r"groups_per_batch=6 cannot be divided into num_substeps=4 equal parts; make it a multiple"),
        (dict(groups_per_batch=2, num_substeps=4), r"groups_per_batch=2 cannot be divided into num_substeps=4"),
        (dict(max_turns_schedule={"start": 0, "end": 4, "steps": 3}),
         r"max_turns_schedule goes from 0 to 4 turns; expected 1 to max_turns=8"),
        (dict(max_turns_schedule={"start": 9, "end": 4, "steps": 3}), r"from 9 to 4 turns"),
        (dict(max_turns_schedule={"start": 2, "end": 8.5, "steps": 3}), r"from 2 to 8.5 turns"),
        (dict(max_turns_schedule={"start": 2, "end": 0.5, "steps": 3}), r"from 2 to 0.5 turns"),
        (dict(teachers=[{"name": "a", "weight": 2.0}]), r"teacher 'a' has a weight, but teacher_average is not set"),
        (dict(lr_warmup_steps=10, max_steps=10), r"lr_warmup_steps=10 must be less than max_steps=10; lower it"),
    ],
)  # fmt: skip
def test_config_refuses_settings_that_do_not_go_together(changes, message):
    with pytest.raises(ConfigError, match=message):
        config(**changes)


def test_config_refuses_recordings_that_are_not_used_or_not_there(recording, tmp_path):
    with pytest.raises(ConfigError, match=r"recordings.on_policy_fraction=1.0 uses no recording; lower it, or leave"):
        config(recordings={"files": [recording], "on_policy_fraction": 1.0})
    with pytest.raises(ConfigError, match=r"recordings file '.*missing.jsonl' does not exist \(looked for"):
        config(recordings={"files": [recording, str(tmp_path / "missing.jsonl")]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            dict(rewards=[SOLVED]),
            r"on_policy_fraction=0.0 plays no dialogue, so objective and rewards have no effect",
        ),
        (dict(objective=FORWARD), r"plays no dialogue, .* set recordings.objective, or a higher on_policy_fraction"),
        (dict(loss_fn="ppo"), r"loss_fn='ppo' has no effect on supervised"),
    ],
)
def test_config_refuses_what_has_no_effect_on_recordings_alone(recording, changes, message):
    with pytest.raises(ConfigError, match=message):
        config(recordings={"files": [recording]}, **changes)


def test_recordings_take_a_discount_but_no_group_baseline(recording):
    recordings = {"files": [recording], "objective": {"kind": "sampled_reverse_kl"}}
    assert config(recordings=recordings, kl_discount_factor=0.5).kl_discount_factor == 0.5
    recordings["objective"] = {"kind": "sampled_reverse_kl", "baseline": "group"}
    with pytest.raises(ConfigError, match="each recording is a group of its own; set baseline='none'"):
        config(recordings=recordings)


def test_a_part_that_is_built_alone_gives_our_error_too():
    with pytest.raises(ConfigError, match=r"^k=0: input should be greater than or equal to 1$"):
        ForwardKL(k=0)
    with pytest.raises(ConfigError, match=r"name is missing: Name of the teacher, in metrics and messages\."):
        Teacher()  # pyright: ignore[reportCallIssue]


def test_an_objective_without_its_kind_says_so():
    with pytest.raises(ConfigError, match=r"objective=\{'k': 3\}: it does not say which kind it is; add 'kind'"):
        config(objective={"k": 3})


def test_config_refuses_averaged_teachers_on_recordings_too(recording):
    recordings = {"files": [recording], "objective": {"kind": "jensen_shannon"}, "on_policy_fraction": 0.5}
    with pytest.raises(ConfigError, match=r"'jensen_shannon' needs one teacher's likeliest tokens"):
        config(recordings=recordings, teachers=TWO_TEACHERS, teacher_average="log_mean")


@pytest.mark.parametrize(
    "changes",
    [
        dict(kl_discount_factor=0.5, loss_fn="ppo"),
        dict(loss_fn="gspo", loss_fn_options={"clip_low_threshold": 0.9997, "clip_high_threshold": 1}),
        dict(loss_fn="dro", loss_fn_options={"beta": 0.1}, objective=FORWARD, rewards=[SOLVED]),
        dict(objective={"kind": "mixture", "parts": [{"objective": FORWARD}, {"objective": SAMPLED}]},
             kl_discount_factor=0.5, loss_fn="ppo"),
        dict(objective=FORWARD, num_envs=1),
        dict(objective=FORWARD, loss_fn="cispo", rewards=[SOLVED]),
        dict(objective=FORWARD, loss_fn="cispo", cut_replies="penalize"),
        dict(teachers=TWO_TEACHERS, teacher_average="log_mean"),
        dict(teachers=TWO_TEACHERS, teacher_average="mixture", objective={"kind": "monte_carlo_kl"}),
        dict(teachers=[{"name": "a", "tags": ["sums"]}, {"name": "b", "tags": ["areas"]}], objective=FORWARD),
        dict(teacher_lag_steps=5),
        dict(tutor_model_name="Qwen3-8B", teacher_model_name="Qwen/Qwen3-8B", teacher_lag_steps=5),
        dict(teachers=[LAGGED | {"model_name": "small"}, {"name": "b"}], teacher_model_name="big"),
        dict(groups_per_batch=6, num_substeps=3),
        dict(max_turns_schedule={"start": 1, "end": 8, "steps": 3}),
        dict(max_turns_schedule={"start": 8, "end": 1, "steps": 3}),
        dict(lr_warmup_steps=9, max_steps=10),
        dict(lr_warmup_steps=9),
    ],
)  # fmt: skip
def test_config_takes_settings_that_go_together(changes):
    assert config(**changes) != config()


OBJECTIVES = [
    ({"kind": "sampled_reverse_kl", "advantage_clip": 2.0, "baseline": "group", "normalize_length": True},
     SampledReverseKL(advantage_clip=2.0, baseline="group", normalize_length=True)),
    ({"kind": "forward_kl", "k": 4, "tail": "bucket"}, ForwardKL(k=4, tail="bucket")),
    ({"kind": "reverse_kl", "k": 4}, ReverseKL(k=4)),
    ({"kind": "jensen_shannon", "k": 4, "beta": 0.3}, JensenShannon(k=4, beta=0.3)),
    ({"kind": "monte_carlo_kl", "k": 4}, MonteCarloKL(k=4)),
    ({"kind": "mixture", "parts": [
        {"objective": FORWARD, "weight": 2},
        {"objective": SAMPLED, "weight": {"start": 0.0, "end": 1, "steps": 9, "shape": "cosine"}},
     ]},
     Mixture(parts=(
         Weighted(objective=ForwardKL(), weight=2.0),
         Weighted(objective=SampledReverseKL(), weight=Schedule(start=0.0, end=1.0, steps=9, shape="cosine")),
     ))),
]  # fmt: skip
SETTINGS = [
    *[("objective", written, built) for written, built in OBJECTIVES],
    ("rewards", [{"kind": "solved", "weight": 2.0}, {"kind": "not_telling"}, {"kind": "few_turns", "weight": -1}],
     [OutcomeReward(kind="solved", weight=2.0), OutcomeReward(kind="not_telling"),
      OutcomeReward(kind="few_turns", weight=-1.0)]),
    ("rewards", [{"kind": "function", "function": "my.rewards:grade", "weight": 0.5}],
     [FunctionReward(function="my.rewards:grade", weight=0.5)]),
    ("teachers",
     [{"name": "a", "model_name": "big", "checkpoint_path": "w", "prompt_file": "p.txt", "sees_answer": True,
       "enable_thinking": False, "seeds_files": ["s.jsonl"], "tags": ["sums"], "weight": 2},
      {"name": "b", "lag_steps": 3}],
     [Teacher(name="a", model_name="big", checkpoint_path="w", prompt_file="p.txt", sees_answer=True,
              enable_thinking=False, seeds_files=("s.jsonl",), tags=("sums",), weight=2.0),
      Teacher(name="b", lag_steps=3)]),
    ("max_turns_schedule", {"start": 1, "end": 8, "steps": 10, "shape": "cosine"},
     Schedule(start=1.0, end=8.0, steps=10, shape="cosine")),
]  # fmt: skip


@pytest.mark.parametrize(("field", "written", "built"), SETTINGS)
def test_setting_is_the_same_as_dict_and_as_object(field, written, built):
    average = {"teacher_average": "mixture"} if field == "teachers" else {}  # so that a weight means something
    from_dict, from_object = config(**{field: written}, **average), config(**{field: built}, **average)
    assert from_dict == from_object
    kept = getattr(from_dict, field)
    assert kept == (tuple(built) if isinstance(built, list) else built)


# A recording is a group of its own, so that the first one's baseline has nothing to compare with.
@pytest.mark.parametrize(("written", "built"), [*OBJECTIVES[1:], ({"kind": "supervised"}, Supervised())])
def test_recordings_are_the_same_as_dict_and_as_object(recording, written, built):
    from_dict = config(recordings={"files": [recording], "objective": written, "on_policy_fraction": 0.25})
    from_object = config(recordings=Recordings(files=(recording,), objective=built, on_policy_fraction=0.25))
    assert from_dict == from_object
    assert from_dict.recordings is not None and from_dict.recordings.objective == built


def test_setting_left_out_has_its_default(recording):
    made = config(recordings={"files": [recording]}, teachers=[{"name": "a"}])
    assert made.recordings == Recordings(files=(recording,), objective=Supervised(), on_policy_fraction=0.0)
    assert (made.objective, made.rewards, made.max_turns_schedule) == (SampledReverseKL(), (), None)
    assert made.teachers == (Teacher(name="a", weight=1.0),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(objective={"kind": "forwardkl"}), r"objective: .*'forwardkl'; did you mean 'forward_kl'"),
        (dict(objective={"kind": "supervised"}), r"objective: there is no kind 'supervised'; expected"),
        (dict(objective={"k": 3}), r"objective=.*'kind'"),
        (dict(objective="mixture"), r"objective.mixture.parts is missing: The parts that are added up"),
        (dict(endings={"kind": "phrase"}), r"endings.0.phrase.phrase is missing: The phrase"),
        (dict(students=[{"persona": "careless"}]), r"students.0.name is missing: Name of the student"),
        (dict(rewards=[{"kind": "judge"}]), r"rewards.0.judge.model_name is missing: Base model of the judge"),
        (dict(objective={"kind": "forward_kl", "k": 0}), r"objective.forward_kl.k=0: .*greater than or equal to 1"),
        (dict(objective={"kind": "forward_kl", "k": 2000}), r"objective.forward_kl.k=2000: .*less than or equal to"),
        (dict(objective={"kind": "forward_kl", "k": True}), r"objective.forward_kl.k=True"),
        (dict(objective={"kind": "forward_kl", "top": 3}), r"objective.forward_kl=.*: it has no field 'top'"),
        (dict(objective={"kind": "forward_kl", "tail": "cut"}), r"objective.forward_kl.tail='cut'"),
        (dict(objective={"kind": "monte_carlo_kl", "k": 1}), r"objective.monte_carlo_kl.k=1"),
        (dict(objective={"kind": "jensen_shannon", "beta": 0.0}), r"objective.jensen_shannon.beta=0.0"),
        (dict(objective={"kind": "jensen_shannon", "beta": 1.0}), r"objective.jensen_shannon.beta=1.0"),
        (dict(objective={"kind": "sampled_reverse_kl", "advantage_clip": 0.0}), r"reverse_kl.advantage_clip=0.0"),
        (dict(objective={"kind": "sampled_reverse_kl", "baseline": "mean"}), r"sampled_reverse_kl.baseline='mean'"),
        (dict(objective={"kind": "mixture", "parts": []}), r"objective.mixture.parts=\[\]: .*at least 1 item"),
        (dict(objective={"kind": "mixture", "parts": [{"objective": FORWARD}, {"objective": FORWARD}]}),
         r"the mixture holds forward_kl more than once; keep one and add up the weights"),
        (dict(objective={"kind": "mixture", "parts": [{"objective": {"kind": "mixture", "parts": []}}]}),
         r"objective.mixture.parts.0.objective: .*'mixture'"),
        (dict(objective={"kind": "mixture", "parts": [{"objective": FORWARD, "weight": -1.0}]}),
         r"parts.0.weight.*=-1.0: .*greater than or equal to 0"),
        (dict(rewards=[{"kind": "kindness"}]), r"rewards.0: .*'kindness'; expected 'solved', .*, 'function'"),
        (dict(rewards=[{"kind": "function", "function": "grade"}]), r"rewards.0.function.function='grade'"),
        (dict(rewards=[SOLVED | {"function": "a:b"}]), r"rewards.0.solved=.*: it has no field 'function'"),
        (dict(rewards=[SOLVED | {"weight": float("inf")}]), r"rewards.0.solved.weight=inf"),
        (dict(rewards=3), r"rewards=3: .*tuple"),
        (dict(teachers=[{"name": "two words"}]), r"teachers.0.name='two words'"),
        (dict(teachers=[{"name": "a", "weight": 0.0}]), r"teachers.0.weight=0.0"),
        (dict(teachers=[LAGGED | {"checkpoint_path": "w"}]),
         r"teacher 'old' has lag_steps=5 and checkpoint_path='w'; .*keep one"),
        (dict(recordings={"files": []}), r"recordings.files=\[\]: .*at least 1 item"),
        (dict(recordings={"files": 3}), r"recordings.files=3"),
        (dict(recordings={"files": ["x"], "on_policy_fraction": 1.5}), r"recordings.on_policy_fraction=1.5"),
        (dict(max_turns_schedule=3), r"max_turns_schedule=3"),
        (dict(max_turns_schedule={"start": 1, "end": 3, "steps": 0}), r"max_turns_schedule.steps=0"),
        (dict(max_turns_schedule={"start": -1, "end": 3, "steps": 2}), r"max_turns_schedule.start=-1"),
        (dict(max_turns_schedule={"start": 1, "end": 3, "steps": 2, "shape": "step"}), r"schedule.shape='step'"),
    ],
)  # fmt: skip
def test_invalid_setting_is_refused_with_its_field(changes, message):
    with pytest.raises(ConfigError, match=message):
        config(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(rewards=[{"kind": "function"}]), r"rewards.0.function.function is missing"),
        (dict(teachers=[{}]), r"teachers.0.name is missing"),
        (dict(recordings={}), r"recordings.files is missing"),
        (dict(max_turns_schedule={"start": 1, "end": 3}), r"max_turns_schedule.steps is missing"),
    ],
)
def test_setting_without_a_part_it_needs_is_refused_with_its_place(changes, message):
    with pytest.raises(ConfigError, match=message):
        config(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(log_path=3), r"log_path=3"),
        (dict(teachers=[{"name": "a", "checkpoint_path": 3}]), r"teachers.0.checkpoint_path=3"),
        (dict(recordings={"files": [None]}), r"recordings.files.0=None"),
    ],
)
def test_setting_that_is_no_path_is_refused_with_its_place(changes, message):
    with pytest.raises(ConfigError, match=message):
        config(**changes)


def test_settings_are_frozen():
    for setting, field in ((ForwardKL(), "k"), (Schedule(start=0, end=1, steps=2), "end"), (Teacher(name="a"), "name")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(setting, field, 3)


def test_divergences_are_those_that_an_objective_adds_up():
    parts = (Weighted(objective=ForwardKL(k=2)), Weighted(objective=ReverseKL()))
    assert Mixture(parts=parts).divergences == (ForwardKL(k=2), ReverseKL())
    assert JensenShannon().divergences == (JensenShannon(),)
    assert Supervised().divergences == ()


@pytest.mark.parametrize("loaded_by", ["keywords", "pydantic"])
def test_config_with_every_setting_written_as_json_loads_back_equal(recording, loaded_by):
    made = config(
        objective=OBJECTIVES[-1][0],
        kl_penalty_coef=0.5,
        kl_discount_factor=0.9,
        loss_fn="cispo",
        loss_fn_options={"clip_high_threshold": 2.0},
        max_probability_change=0.25,
        rewards=[SOLVED, {"kind": "function", "function": "__main__:grade", "weight": -0.25}],
        reward_coef=2.0,
        cut_replies="penalize",
        cut_penalty=0.5,
        train_thinking=False,
        skip_first_tokens=2,
        recordings={"files": [recording], "objective": OBJECTIVES[1][0], "on_policy_fraction": 0.5},
        teachers=[LAGGED, {"name": "b", "tags": ["sums"], "seeds_files": ["s.jsonl"], "sees_answer": False}],
        lr_schedule="cosine",
        lr_warmup_steps=3,
        adam_beta1=0.8,
        adam_beta2=0.99,
        adam_eps=1e-8,
        weight_decay=0.01,
        grad_clip_norm=1.0,
        num_substeps=2,
        max_turns_schedule={"start": 2, "end": 8, "steps": 100},
        system_role="merge",
    )
    text = made.model_dump_json()
    loaded = SocraticConfig(**json.loads(text)) if loaded_by == "keywords" else SocraticConfig.model_validate_json(text)
    assert loaded == made
    assert loaded.model_dump_json() == text
    averaged = config(teachers=TWO_TEACHERS, teacher_average="mixture")
    assert SocraticConfig.model_validate_json(averaged.model_dump_json()) == averaged
