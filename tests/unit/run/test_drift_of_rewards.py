"""What decides whether two configs mean the same rewards."""

import json

import pytest

from socratic_distill.dialogues.briefing import Briefing
from socratic_distill.dialogues.seeds import load_seeds
from socratic_distill.run.drift import changes, fingerprint

JUDGE = {"kind": "judge", "model_name": "judge"}


def meaning_of(config):
    seeds = load_seeds(config.seeds_file)
    return fingerprint(config, seeds, Briefing.read(config, seeds))


def test_rewards_of_earlier_versions_have_the_same_fingerprint(make_config):
    function = {"kind": "function", "function": "a:b", "weight": 0.5}
    meaning = meaning_of(make_config(rewards=["solved", function]))
    assert meaning["rewards"] == ('[{"kind":"solved","weight":1.0}, {"kind":"function","function":"a:b","weight":0.5}]')
    assert meaning_of(make_config())["rewards"] == "[]" and "reward_normalization" not in meaning


@pytest.mark.parametrize(
    "change",
    [{"samples": 4}, {"less_before": True}, {"weight": 2.0}],
)
def test_each_field_of_a_solve_rate_counts(make_config, change):
    before, now = (meaning_of(make_config(rewards={"kind": "solve_rate"} | more)) for more in ({}, change))
    assert [one.field for one in changes(before, now, ())] == ["rewards"]


@pytest.mark.parametrize(
    "change",
    [{"veto": "soft"}, {"rubric": "Be kind."}, {"model_name": "other"}, {"temperature": 0.5}, {"name": "x"}],
)
def test_each_field_of_a_judge_counts(make_config, change):
    before, now = (meaning_of(make_config(rewards=JUDGE | more)) for more in ({}, change))
    assert [one.field for one in changes(before, now, ())] == ["rewards"]


def test_files_of_a_judge_count_by_what_they_hold(make_config, tmp_path):
    meanings = []
    for name, text in (("a.txt", "Be kind."), ("b.txt", "Be kind.\n"), ("c.txt", "Be stern.")):
        (tmp_path / name).write_text(text)
        meanings.append(meaning_of(make_config(rewards=JUDGE | {"rubric_file": tmp_path / name})))
    assert meanings[0] == meanings[1] != meanings[2]
    assert json.loads(meanings[0]["rewards"])[0]["rubric_file"].startswith("sha256 ")
