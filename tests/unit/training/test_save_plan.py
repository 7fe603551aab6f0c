import pytest

from socratic_distill.training.save_plan import AnyOf, EveryBatches, EverySeconds, SavePlan, save_plan

HOUR, DAY, WEEK = 3600, 24 * 3600, 7 * 24 * 3600


def due_batches(policy, last: int = 12) -> list[int]:
    return [batch for batch in range(1, last + 1) if policy.is_due(batch, 0.0)]


def test_every_batches_goes_by_the_batch_alone_so_that_a_resumed_run_keeps_the_rhythm():
    assert due_batches(EveryBatches(5)) == [5, 10]
    assert due_batches(EveryBatches(1), last=3) == [1, 2, 3]
    assert EveryBatches(5).is_due(10, 0.0) and not EveryBatches(5).is_due(11, 1e9)


@pytest.mark.parametrize(("seconds", "due"), [(0.0, False), (59.9, False), (60.0, True), (1e9, True)])
def test_every_seconds_goes_by_the_time_alone(seconds, due):
    assert [EverySeconds(60.0).is_due(batch, seconds) for batch in (1, 20)] == [due, due]


def test_any_of_is_due_where_one_is_and_never_without_any():
    assert due_batches(AnyOf((EveryBatches(4), EveryBatches(6)))) == [4, 6, 8, 12]
    assert due_batches(AnyOf()) == []
    assert AnyOf((EveryBatches(4), EverySeconds(60.0))).is_due(3, 60.0)


@pytest.mark.parametrize(
    ("batch", "seconds", "kind"),
    [(1, 0.0, None), (2, 0.0, "rolling"), (6, 0.0, "periodic"), (7, 60.0, "periodic"), (8, 60.0, "periodic")],
)
def test_a_periodic_state_takes_the_place_of_a_rolling_one(batch, seconds, kind):
    plan = SavePlan(AnyOf((EveryBatches(6), EverySeconds(60.0))), EveryBatches(2), {})
    assert plan.due(batch, seconds) == kind


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
    plan = save_plan(make_config(**fields))
    due = {batch: plan.due(batch, 1e9) for batch in range(1, 7)}
    assert {batch: kind for batch, kind in due.items() if kind is not None} == kinds


def test_the_plan_of_a_config_counts_seconds_beside_batches_or_alone(make_config):
    beside = save_plan(make_config(save_every=4, save_every_seconds=90.0))
    assert [beside.due(3, 89.0), beside.due(3, 90.0), beside.due(4, 0.0)] == [None, "periodic", "periodic"]
    alone = save_plan(make_config(save_every=None, save_every_seconds=90.0))
    assert [alone.due(20, 89.0), alone.due(1, 90.0)] == [None, "periodic"]


def test_saves_live_as_long_as_the_config_says_and_the_final_one_for_ever(make_config):
    lifetimes = save_plan(make_config()).ttl_seconds
    expected = {"sampler": WEEK, "periodic": WEEK, "interrupted": WEEK, "rolling": 2 * HOUR, "final": None}
    assert lifetimes == expected
    changed = make_config(sampler_ttl_seconds=DAY, periodic_ttl_seconds=None, rolling_ttl_seconds=HOUR)
    expected = {"sampler": DAY, "periodic": None, "interrupted": None, "rolling": HOUR, "final": None}
    assert save_plan(changed).ttl_seconds == expected
