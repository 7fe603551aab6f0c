"""The live view as lines of a width, and what stands behind it."""

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from socratic_distill.outputs.display.pace import Pace
from socratic_distill.outputs.display.protocol import Moment
from socratic_distill.outputs.display.tally import Tally
from socratic_distill.outputs.display.text import ASCII, BLOCKS, amount, bar, cut, dollars, sparkline
from socratic_distill.outputs.display.view import Scene, View
from socratic_distill.text import duration, printable


def row_of(step, **changes):
    row = {
        "step": step, "teacher_kl": 0.2 - 0.01 * step, "first_reply/tells": 0.5, "first_reply/asks": 0.75,
        "solved": 0.25, "tokens/tutor": 400, "tokens/student": 600, "tokens/trained": 2_000,
        "prompt_tokens/tutor": 10_000, "prompt_tokens/student": 20_000, "prompt_tokens/teacher": 30_000,
        "cost/usd": 0.5,
    }  # fmt: skip
    return row | changes


def tally_of(*rows):
    tally = Tally()
    for row in rows:
        tally = tally.after(row)
    return tally


MOMENT = Moment(
    batch=4, total=16, dialogues_done=8, dialogues=32, in_flight=24, stage="playing", checkpoint="000004",
    evaluation="batch 4: teacher_kl 0.081  Telling@3 12%  Success@3 55%",
)  # fmt: skip
SCENE = Scene(MOMENT, tally_of(*map(row_of, range(4))), elapsed=62.0, left=200.0)


def draw(scene, width, glyphs=BLOCKS):
    return [line.plain.rstrip() for line in View(glyphs, "utf-8").lines(scene, width)]


def test_wide_view_shows_everything_with_bars_and_curves_below_each_other():
    assert draw(SCENE, 80) == [
        "step       4/16    ━━━━━━━━────────────────────────  3:20 left  1:02 elapsed",
        "batch 4    8/32    ━━━━━━━━────────────────────────  24 in flight  playing",
        "teacher_kl 0.170   ███▇                              nats a token",
        "tells      50%     ▅▅▅▅                              asks 75%  solved 25%",
        "tokens     4k sampled  240k read  8k trained",
        "cost       about $2.00  $8.00 at the end",
        "checkpoint 000004",
        "evaluation batch 4: teacher_kl 0.081  Telling@3 12%  Success@3 55%",
    ]


def test_narrow_view_keeps_figures_and_curves():
    assert draw(SCENE, 40) == [
        "step       4/16    ━━────────  3:20 left",
        "batch 4    8/32    24 in flight  playing",
        "teacher_kl 0.170   ███▇",
        "tells      50%     ▅▅▅▅",
        "tokens     4k sampled  240k read",
        "cost       about $2.00  $8.00 at the end",
        "checkpoint 000004",
        "evaluation batch 4: teacher_kl 0.081  T…",
    ]


def test_view_before_the_first_step_has_no_empty_lines():
    scene = Scene(Moment(0, 16, dialogues=32, in_flight=32, stage="playing"), Tally(), elapsed=1.0, left=None)
    assert [line.split()[0] for line in draw(scene, 80)] == ["step", "batch", "checkpoint"]
    assert draw(scene, 80)[-1] == "checkpoint none yet" and "left" not in draw(scene, 80)[0]


def test_view_of_a_complete_run_speaks_of_nothing_under_way():
    done = Scene(Moment(16, 16, checkpoint="final"), SCENE.tally, elapsed=62.0, left=0.0, has_ended=True)
    lines = draw(done, 80)
    assert lines[0].split()[:2] == ["step", "16/16"] and "left" not in lines[0]
    assert not any("batch" in line or "at the end" in line for line in lines)


def test_cost_is_left_out_where_it_is_not_known_of_every_step():
    for changes in ({"cost/usd": None}, {"cost/usd": 0.0}):
        scene = Scene(MOMENT, tally_of(row_of(0), row_of(1, **changes)), 1.0, 1.0)
        has_cost = any(line.startswith("cost") for line in draw(scene, 80))
        assert has_cost == (changes["cost/usd"] is not None)


def test_ascii_view_is_ascii():
    assert all(line.isascii() for line in draw(SCENE, 60, ASCII))


texts = st.none() | st.text(max_size=120)
figures = st.none() | st.floats(-10, 10)
counts = st.integers(0, 10**9)
rows = st.builds(
    lambda step, kl, tells, tokens, usd: {
        "step": step, "teacher_kl": kl, "first_reply/tells": tells, "solved": tells, "tokens/tutor": tokens,
        "cost/usd": usd,
    },
    st.integers(0, 50), figures, st.none() | st.floats(0, 1), counts, st.none() | st.floats(0, 1e6),
)  # fmt: skip
moments = st.builds(
    Moment, st.integers(0, 10**5), st.integers(1, 10**5), counts, counts, counts, st.text(max_size=20), texts, texts
)


@given(
    moments, st.lists(rows, max_size=40), st.floats(0, 1e6), st.none() | st.floats(0, 1e6), st.integers(1, 200),
    st.booleans(), st.sampled_from([ASCII, BLOCKS]),
)  # fmt: skip
def test_every_line_fits_and_none_can_steer_the_terminal(moment, told, elapsed, left, width, has_ended, glyphs):
    scene = Scene(moment, tally_of(*told), elapsed, left, has_ended)
    for line in View(glyphs, "utf-8").lines(scene, width):
        assert line.cell_len <= width
        assert line.plain == printable(line.plain, "utf-8") and "\n" not in line.plain


# Sums and times


def test_repeated_step_counts_once_in_the_curve_and_twice_in_the_sums():
    tally = tally_of(row_of(0), row_of(1), row_of(2), row_of(1, teacher_kl=0.05))
    assert [(step.number, step.teacher_kl) for step in tally.steps] == [(0, 0.2), (1, 0.05)]
    assert (tally.sampled, tally.read, tally.trained, tally.usd) == (4_000, 240_000, 8_000, 2.0)


def test_time_left_follows_the_newest_steps_and_runs_down_between_them():
    pace = Pace()
    pace.begin(100.0)
    assert pace.left(105.0, steps=9) is None and pace.elapsed(105.0) == 5.0
    now = 100.0
    for seconds in (1000.0, *[10.0] * 10):
        now += seconds
        pace.stepped(now)
    assert pace.left(now, steps=3) == pytest.approx(30.0), "a slow first step counts for ever"
    assert pace.left(now + 4.0, steps=3) == pytest.approx(26.0)
    assert pace.left(now + 400.0, steps=3) == 0.0 and pace.left(now, steps=0) == 0.0


def test_time_between_a_loss_and_the_next_start_is_no_step():
    pace = Pace()
    pace.begin(0.0)
    pace.stepped(10.0)
    pace.begin(500.0)
    pace.stepped(510.0)
    assert pace.left(510.0, steps=2) == pytest.approx(20.0) and pace.elapsed(510.0) == 510.0


# Text


def test_sparkline_has_a_level_for_each_value_and_gaps_where_there_is_none():
    assert sparkline([0.0, 0.5, None, 1.0], 0.0, 1.0, 8, BLOCKS) == "▁▅ █"
    assert sparkline([], 0.0, 1.0, 8, BLOCKS) == "" and sparkline([1.0], 1.0, 1.0, 8, BLOCKS) == "▁"


def test_sparkline_of_many_values_shows_the_means_of_even_shares():
    assert sparkline([0.0, 1.0] * 50 + [1.0] * 100, 0.0, 1.0, 4, BLOCKS) == "▅▅██"


@given(st.lists(figures, max_size=300), st.integers(1, 60))
def test_sparkline_is_as_wide_as_its_values_or_its_room(values, width):
    assert len(sparkline(values, -10, 10, width, ASCII)) == min(width, len(values))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_sparkline_rises_where_the_values_do(values):
    levels = [BLOCKS.levels.index(one) for one in sparkline(sorted(values), 0.0, 1.0, 30, BLOCKS)]
    assert all(low <= high for low, high in pairwise(levels))


@pytest.mark.parametrize(("done", "total", "filled"), [(0, 8, 0), (4, 8, 5), (8, 8, 10), (9, 8, 10), (0, 0, 0)])
def test_bar_is_filled_as_far_as_things_are(done, total, filled):
    assert bar(done, total, 10, ASCII) == ("#" * filled, "-" * (10 - filled))


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, "0"), (999, "999"), (1000, "1k"), (34_210, "34.2k"), (999_949, "1M"), (1_234_567, "1.23M"), (2 * 10**9, "2G")],
)  # fmt: skip
def test_amounts_are_short(count, told):
    assert amount(count) == told


def test_durations_and_dollars_read_as_people_write_them():
    assert [duration(seconds) for seconds in (0, 42.4, 725, 11_045)] == ["0:00", "0:42", "12:05", "3:04:05"]
    assert [dollars(usd) for usd in (0.0123, 0.126, 1234.5)] == ["$0.0123", "$0.13", "$1,234.50"]


def test_cut_text_ends_in_an_ellipsis_that_fits():
    assert [cut("teacher", width, BLOCKS) for width in (7, 6, 2, 1)] == ["teacher", "teach…", "t…", "t"]
    assert [cut("teacher", width, ASCII) for width in (7, 6, 2)] == ["teacher", "tea...", "te"]
