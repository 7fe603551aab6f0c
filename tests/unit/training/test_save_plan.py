import pytest

from socratic_distill.training.save_plan import SaveSchedule

HOUR, DAY, WEEK = 3600, 24 * 3600, 7 * 24 * 3600


@pytest.mark.parametrize(
    ("batch", "seconds", "kind"),
    [
        (1, 0.0, None), (1, 59.9, None), (1, 60.0, "periodic"), (2, 0.0, "rolling"), (6, 0.0, "periodic"),
        (7, 60.0, "periodic"), (8, 60.0, "periodic"), (12, 0.0, "periodic"),
    ],
)  # fmt: skip
def test_a_periodic_state_takes_the_place_of_a_rolling_one(batch, seconds, kind):
    assert SaveSchedule(every=6, every_seconds=60.0, rolling_every=2, ttl_seconds={}).due(batch, seconds) == kind


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({"save_every": 3}, {3: "periodic", 6: "periodic"}),
        ({"save_every": None}, {}),
        ({"save_every": None, "rolling_save_every": 4}, {4: "rolling"}),
        ({"save_every": 6, "rolling_save_every": 2}, {2: "rolling", 4: "rolling", 6: "periodic"}),
    ],
    ids=str,
)
def test_the_plan_of_a_config_saves_what_its_fields_ask_for(make_config, fields, kinds):
    plan = SaveSchedule.of(make_config(**fields))
    due = {batch: plan.due(batch, 1e9) for batch in range(1, 7)}
    assert {batch: kind for batch, kind in due.items() if kind is not None} == kinds


def test_seconds_count_in_addition_to_batches_or_alone(make_config):
    both = SaveSchedule.of(make_config(save_every=4, save_every_seconds=90.0))
    assert [both.due(3, 89.0), both.due(3, 90.0), both.due(4, 0.0)] == [None, "periodic", "periodic"]
    alone = SaveSchedule.of(make_config(save_every=None, save_every_seconds=90.0))
    assert [alone.due(20, 89.0), alone.due(1, 90.0)] == [None, "periodic"]


def test_saves_live_as_long_as_the_config_says_and_the_final_one_for_ever(make_config):
    lifetimes = SaveSchedule.of(make_config()).ttl_seconds
    expected = {"sampler": WEEK, "periodic": WEEK, "interrupted": WEEK, "rolling": 2 * HOUR, "final": None}
    assert lifetimes == expected
    changed = make_config(sampler_ttl_seconds=DAY, periodic_ttl_seconds=None, rolling_ttl_seconds=HOUR)
    expected = {"sampler": DAY, "periodic": None, "interrupted": None, "rolling": HOUR, "final": None}
    assert SaveSchedule.of(changed).ttl_seconds == expected
