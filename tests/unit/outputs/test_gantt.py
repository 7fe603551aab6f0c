"""The chart of a step, as a reader of the SVG finds it."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from socratic_distill import ConfigError, Seed
from socratic_distill.dialogues.dialogue import Dialogue, Turn
from socratic_distill.distillation.rows import dialogue_row
from socratic_distill.distillation.scoring import ScoredDialogue
from socratic_distill.outputs.gantt import gantt, read_step
from socratic_distill.training.step_times import StepTimes, critical_seconds, span_row, time_metrics

SVG = "{http://www.w3.org/2000/svg}"
LEFT, WIDTH = 190, 980  # of the chart without its labels
# Sent at 30 s for the dialogue of s1, which was scored last, and answered at 50 s.
ROW = {
    "step": 7, "time/step": 50.0, "time/update": 20.0, "time/weights": 4.0, "time/critical/opening": 0.0,
    "time/critical/student": 0.2, "time/critical/tutor": 0.26, "time/critical/teacher": 0.06,
    "time/critical/update": 0.4, "time/critical/weights": 0.08, "time/critical/waiting": 0.0,
}  # fmt: skip


def talk(seed, number, *spans):
    """A row of dialogues.jsonl, with two tutor turns, the last answer and scores where there are enough spans."""
    roles = ["student", "tutor"] * 3
    turns = [{"role": role} for role in roles[: min(len(spans), 5)]]
    return {"step": 7, "seed": seed, "number": number, "turns": turns, "time/spans": [list(span) for span in spans]}


QUICK = talk("s0", 0, (-20, -10), (4, 6), (6, 12), (12, 16), (21, 25), (16, 21))
SLOW = talk("s1", 1, (-20, -2), (4, 10), (10, 20), (20, 27), (30, 40), (27, 30))


def parsed(row, dialogues):
    return ElementTree.fromstring(gantt(row, dialogues))


def shapes(svg, kind):
    return list(svg.iter(SVG + kind))


def bars(svg):
    """What each bar tells, to its rectangle."""
    rectangles = [one for one in shapes(svg, "rect") if "bar" in one.get("class", "").split()]
    return {one.findtext(SVG + "title"): one for one in rectangles}


def texts(svg):
    return [one.text for one in shapes(svg, "text")]


def lanes(svg):
    """The labels of the dialogues' lanes, from top to bottom."""
    names = [text for text in texts(svg) if " · " in text]
    assert len(names) == len(set(names))
    return names


def is_critical(bar):
    return "critical" in bar.get("class").split()


# What is drawn


def test_each_request_has_a_bar_where_and_as_long_as_it_was_under_way():
    drawn = bars(parsed(ROW, [QUICK, SLOW]))
    spans = {
        "weights, update: weights": [(0, 4)],
        "weights, update: update": [(30, 50)],
        "s0 · 0: opening": [(-20, -10)],
        "s0 · 0: tutor": [(4, 6), (12, 16)],
        "s0 · 0: student": [(6, 12), (21, 25)],
        "s0 · 0: teacher": [(16, 21)],
        "s1 · 1: opening": [(-20, -2)],
        "s1 · 1: tutor": [(4, 10), (20, 27)],
        "s1 · 1: student": [(10, 20), (30, 40)],
        "s1 · 1: teacher": [(27, 30)],
    }
    told = {f"{name}, {start:.2f} to {end:.2f} s" for name, each in spans.items() for start, end in each}
    assert {key.removesuffix(", critical") for key in drawn} == told
    scale = WIDTH / 70  # from -20 to 50 s
    for name, each in spans.items():
        for start, end in each:
            (bar,) = [bar for key, bar in drawn.items() if key.startswith(f"{name}, {start:.2f} to {end:.2f} s")]
            assert float(bar.get("x", "")) == pytest.approx(LEFT + (start + 20) * scale, abs=0.006)
            assert float(bar.get("width", "")) == pytest.approx((end - start) * scale, abs=0.006)


def test_a_dialogue_has_a_lane_of_its_own_under_the_services():
    drawn = bars(parsed(ROW, [QUICK, SLOW]))
    by_lane = {}
    for told, bar in drawn.items():
        by_lane.setdefault(told.split(": ")[0], set()).add(float(bar.get("y")))
    heights = [min(by_lane[name]) for name in ("weights, update", "s0 · 0", "s1 · 1")]
    assert all(len(each) == 1 for each in by_lane.values()) and heights == sorted(set(heights))


def test_what_the_step_waited_for_stands_out_and_nothing_else_does():
    critical = {told for told, bar in bars(parsed(ROW, [QUICK, SLOW])).items() if is_critical(bar)}
    assert critical == {
        "weights, update: weights, 0.00 to 4.00 s, critical",
        "weights, update: update, 30.00 to 50.00 s, critical",
        "s1 · 1: tutor, 4.00 to 10.00 s, critical",
        "s1 · 1: student, 10.00 to 20.00 s, critical",
        "s1 · 1: tutor, 20.00 to 27.00 s, critical",
        "s1 · 1: teacher, 27.00 to 30.00 s, critical",
    }
    told = [told for told, bar in bars(parsed(ROW, [QUICK, SLOW])).items() if told.endswith(", critical")]
    assert set(told) == critical


def test_weights_that_were_not_waited_for_do_not_stand_out():
    drawn = bars(parsed(ROW | {"time/critical/weights": 0.0}, [SLOW]))
    assert not is_critical(drawn["weights, update: weights, 0.00 to 4.00 s"])


def test_a_dialogue_without_scores_was_not_waited_for_however_late_it_ended():
    cut = talk("s2", 0, (4, 6), (6, 49))
    drawn = bars(parsed(ROW, [cut, SLOW]))
    assert [told for told, bar in drawn.items() if told.startswith("s2") and is_critical(bar)] == []
    assert [told for told, bar in drawn.items() if told.startswith("s1") and is_critical(bar)]
    assert not any(is_critical(bar) for told, bar in bars(parsed(ROW, [cut])).items() if told.startswith("s2"))


def test_an_update_that_was_queued_before_the_step_is_drawn_from_there():
    row = ROW | {"time/step": 20.0, "time/update": 30.0, "time/critical/weights": 0.0}
    drawn = bars(parsed(row, [talk("s0", 0, (-50, -45), (-45, -40), (-38, -30), (-40, -38))]))
    assert is_critical(drawn["weights, update: update, -10.00 to 20.00 s, critical"])
    assert sum(map(is_critical, drawn.values())) == 1


lengths = st.integers(1, 9)
dialogues_of = st.lists(
    st.tuples(st.integers(-30, 5), st.integers(0, 12), st.lists(lengths, min_size=3, max_size=6), st.booleans()),
    min_size=1,
    max_size=4,
)


@given(dialogues_of, st.integers(0, 9), st.integers(0, 9), st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_chart_and_metrics_tell_of_the_same_waiting(dialogues, renewed, later, update):
    scored = [_played(number, *one) for number, one in enumerate(dialogues)]
    taken = max([renewed, *(one.span[1] for one in scored)]) + later
    times = StepTimes(100.0, 100.0 + renewed, float(100 + taken), float(100 + taken + update))
    moved = [_moved(one) for one in scored]
    row = {"step": 3} | time_metrics(times, moved)
    rows = [
        json.loads(json.dumps(dialogue_row(one, lambda tokens: [""] * len(tokens)) | span_row(times, one)))
        for one in moved
    ]
    standing_out = dict.fromkeys(("opening", "student", "tutor", "teacher", "update", "weights"), 0.0)
    for told, bar in bars(parsed(row, rows)).items():
        if is_critical(bar):
            phase, start, end = re.findall(r": (\w+), (\S+) to (\S+) s", told)[0]
            standing_out[phase] += float(end) - max(float(start), 0.0)
    waited = critical_seconds(times, moved)
    assert standing_out == pytest.approx({phase: waited[phase] for phase in standing_out}, abs=1e-6)  # pyright: ignore[reportArgumentType]


def _played(number, began, gap, lengths, has_scores):
    """A dialogue of turns one after another, with a gap behind the opening, in seconds since the step began."""
    spans, at = [], began
    for length in lengths:
        spans.append((at, at + length))
        at += length + (gap if len(spans) == 1 else 0)
    roles = ["student", "tutor"] * 3
    turns = [
        Turn(role, "hm", (1,), (2,), (2,), (-1.0,), 0, "stop", span=span)  # pyright: ignore[reportArgumentType]
        for role, span in zip(roles, spans, strict=False)
    ]
    teacher = tuple(np.zeros(1) for _ in turns[1::2]) if has_scores else ()
    dialogue = Dialogue(Seed(f"s{number}", "q", "12"), 3, number, tuple(turns))
    return ScoredDialogue(dialogue, tutor=teacher, teacher=teacher, span=(at, at + 2) if has_scores else (-100, -100))


def _moved(one):
    """The dialogue on a clock on which the step began at 100."""
    turns = [
        Turn(turn.role, "hm", (1,), (2,), (2,), (-1.0,), 0, "stop", span=(turn.span[0] + 100, turn.span[1] + 100))
        for turn in one.dialogue.turns
    ]
    dialogue = Dialogue(one.dialogue.seed, 3, one.dialogue.number, tuple(turns))
    span = (one.span[0] + 100, one.span[1] + 100)
    return ScoredDialogue(dialogue, tutor=one.tutor, teacher=one.teacher, span=span)


def test_heading_and_legend_tell_the_steps_figures():
    svg = parsed(ROW, [QUICK, SLOW])
    assert svg.findtext(SVG + "title") == "Timeline of step 7"
    assert "Step 7: 50.0 s, 2 dialogues" in texts(svg)
    for share in ("opening 0%", "student 20%", "tutor 26%", "teacher 6%", "update 40%", "weights 8%"):
        assert share in texts(svg)
    assert any(text.startswith("waiting 0% ") for text in texts(svg))


def test_bars_have_the_colours_of_the_legend():
    svg = parsed(ROW, [QUICK, SLOW])
    squares = [one for one in shapes(svg, "rect") if one.get("width") == "10"]
    names = [text.split()[0] for text in texts(svg) if text.endswith("%")]
    colours = dict(zip(names, [one.get("fill") for one in squares], strict=True))
    assert len(set(colours.values())) == 6
    for told, bar in bars(svg).items():
        phase = re.findall(r": (\w+),", told)[0]
        assert bar.get("fill") == colours[phase], told


# How it is drawn


@pytest.mark.parametrize("seed", ['<script>&"', "</text><script>alert(1)</script>", "a'b", "]]>", "<!--", "&amp;"])
def test_markup_in_a_seeds_id_is_shown_as_text(seed):
    drawn = gantt(ROW, [talk(seed, 0, (4, 6), (6, 8))])
    svg = ElementTree.fromstring(drawn)
    label = f"{seed} · 0"
    assert (label if len(label) < 30 else label[:28] + "…") in texts(svg)
    assert f"{label}: opening, 4.00 to 6.00 s" in bars(svg)
    assert {one.tag.removeprefix(SVG) for one in svg.iter()} == {"svg", "title", "style", "rect", "text", "line"}
    assert "<script" not in drawn


@pytest.mark.parametrize("character", ["\x00", "\x08", "\x0b", "\u202e", "\ufffe", "\uffff", "\ud800"], ids=ascii)
def test_characters_that_xml_cannot_hold_leave_the_chart_well_formed(character):
    drawn = gantt(ROW, [talk(f"a{character}b", 0, (4, 6), (6, 8))])
    assert lanes(ElementTree.fromstring(drawn.encode())) == ["a\N{REPLACEMENT CHARACTER}b · 0"]


@given(st.text(min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_chart_is_well_formed_whatever_a_seeds_id_is(seed):
    svg = ElementTree.fromstring(gantt(ROW, [talk(seed, 0, (4, 6), (6, 8))]).encode())
    assert len(bars(svg)) == 4


def test_long_ids_are_cut_beside_the_chart_and_whole_in_what_a_bar_tells():
    seed = "a-seed-with-a-name-that-is-long-enough-to-fill-the-chart"
    svg = parsed(ROW, [talk(seed, 0, (4, 6), (6, 8)), talk(seed[:25], 0, (4, 6)), talk(seed[:26], 0, (4, 6))])
    cut = "a-seed-with-a-name-that-is-l…"
    assert [text for text in texts(svg) if text.startswith("a-seed")] == [cut, seed[:25] + " · 0", seed[:26] + " ·…"]
    assert f"{seed} · 0: opening, 4.00 to 6.00 s" in bars(svg)


def test_chart_refers_to_nothing_outside_itself():
    drawn = gantt(ROW, [QUICK, SLOW])
    assert drawn.count("http") == 1 and ' xmlns="http://www.w3.org/2000/svg"' in drawn
    assert not re.search(r"href|url\(|@import|<script|<image|<!DOCTYPE|<\?xml-stylesheet", drawn)


def test_of_many_dialogues_the_last_to_end_are_shown_in_their_order_and_the_heading_says_so():
    many = [talk(f"s{i}", 0, (4, 6), (6, 8 + (7 * i) % 130)) for i in range(130)]
    first_two = {many[i]["seed"] for i in range(130) if (7 * i) % 130 < 2}
    svg = parsed(ROW, many)
    assert "Step 7: 50.0 s, 130 dialogues, the last 128 to end of 130" in texts(svg)
    assert lanes(svg) == [f"{one['seed']} · 0" for one in many if one["seed"] not in first_two]
    few = parsed(ROW, many[:128])
    assert "Step 7: 50.0 s, 128 dialogues" in texts(few) and len(lanes(few)) == 128


def test_everything_lies_within_the_picture():
    for dialogues in ([], [QUICK, SLOW], [talk(f"s{i}", 0, (4, 6), (6, 300)) for i in range(40)]):
        svg = parsed(ROW, dialogues)
        left, top, width, height = map(float, svg.get("viewBox", "").split())
        assert (left, top) == (0, 0)
        for bar in bars(svg).values():
            x, y, w, h = (float(bar.get(name, "")) for name in ("x", "y", "width", "height"))
            assert x >= LEFT and x + w <= LEFT + WIDTH + 0.01 <= width and y > 0 and y + h < height


@given(st.floats(-5000, 0), st.floats(0.001, 20_000))
@settings(max_examples=60, deadline=None)
def test_the_scale_has_few_round_places_at_their_seconds(first, length):
    row = ROW | {"time/step": length, "time/update": length / 2, "time/weights": 0.0}
    svg = parsed(row, [talk("s0", 0, (first, length / 4), (length / 4, length / 2))])
    marks = [float(text.removesuffix(" s")) for text in texts(svg) if re.fullmatch(r"-?[\d.e+-]+ s", text)]
    lines = [float(one.get("x1", "")) for one in shapes(svg, "line")]
    assert len(lines) == len(marks) <= 13
    for mark, x in zip(marks, lines, strict=True):
        assert x == pytest.approx(LEFT + (mark - first) * WIDTH / (length - first), abs=0.02)
    if len(marks) > 1:
        digits = f"{marks[1] - marks[0]:.3e}"
        assert digits[:5] in ("1.000", "2.000", "5.000"), marks


def test_a_step_of_an_hour_has_about_ten_marks():
    svg = parsed(ROW | {"time/step": 3600.0}, [])
    assert 5 <= len(shapes(svg, "line")) <= 12


# Steps with little in them


def test_a_step_without_dialogues_shows_the_services_lane_alone():
    svg = parsed(ROW, [])
    assert "Step 7: 50.0 s, 0 dialogues" in texts(svg) and len(bars(svg)) == 2


def test_failed_dialogues_are_drawn_as_far_as_they_came():
    without_turns = talk("s1", 0)
    cut = talk("s2", 0, (4, 6), (6, 8))
    older = {key: value for key, value in talk("s3", 0, (4, 6)).items() if key != "time/spans"}
    svg = parsed(ROW, [without_turns, cut, older])
    assert lanes(svg) == ["s2 · 0"]
    assert {told for told in bars(svg) if told.startswith("s2")} == {
        "s2 · 0: opening, 4.00 to 6.00 s", "s2 · 0: tutor, 6.00 to 8.00 s",
    }  # fmt: skip


def test_a_step_that_took_no_time_can_be_drawn():
    nothing = {key: 0.0 for key in ROW if key.startswith("time/")}
    assert len(bars(parsed(ROW | nothing, []))) == 2


# Reading a step


@pytest.fixture
def directory(tmp_path):
    """Steps 0, 1 and 12, with a dialogue, two, and none."""
    rows = [ROW | {"step": step} for step in (0, 1, 12)]
    numbers = {0: [0], 1: [0, 1], 12: []}
    talks = [talk("s", number, (4, 6)) | {"step": step} for step, each in numbers.items() for number in each]
    for name, values in (("metrics.jsonl", rows), ("dialogues.jsonl", talks)):
        (tmp_path / name).write_text("".join(json.dumps(value) + "\n" for value in values))
    return tmp_path


@pytest.mark.parametrize(("step", "found", "count"), [(0, 0, 1), (1, 1, 2), (12, 12, 0), (None, 12, 0)])
def test_a_step_is_read_with_its_dialogues(directory, step, found, count):
    row, dialogues = read_step(directory, step)
    assert row == ROW | {"step": found}
    assert [one["step"] for one in dialogues] == [found] * count
    assert [one["number"] for one in dialogues] == list(range(count))


@pytest.mark.parametrize("cut", [1, 40, -2], ids=["a byte", "some", "all but the brace"])
def test_a_torn_last_line_is_not_there_yet(directory, cut):
    whole = json.dumps(ROW | {"step": 13}) + "\n"
    for name in ("metrics.jsonl", "dialogues.jsonl"):
        with (directory / name).open("a") as file:
            file.write(whole[:cut])
    assert read_step(directory, None)[0]["step"] == 12
    with pytest.raises(ConfigError, match="has no step 13"):
        read_step(directory, 13)


def test_dialogues_of_a_step_whose_last_one_is_torn_are_the_whole_ones(directory):
    with (directory / "dialogues.jsonl").open("a") as file:
        file.write('{"step": 12, "seed": "s", "num')
    assert read_step(directory, 12)[1] == []


@pytest.mark.parametrize("step", [2, -1, 120])
def test_a_step_that_is_not_there_is_refused(directory, step):
    with pytest.raises(ConfigError, match=rf"metrics\.jsonl has no step {step}$"):
        read_step(directory, step)


def test_a_directory_without_rows_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError, match=r"holds no metrics\.jsonl; expected the log_path of a run"):
            read_step(path, None)
    for name in ("metrics.jsonl", "dialogues.jsonl"):
        (tmp_path / name).write_text("")
    with pytest.raises(ConfigError, match=r"metrics\.jsonl has no row"):
        read_step(tmp_path, None)


def test_a_directory_without_dialogues_is_refused(directory):
    (directory / "dialogues.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"holds no dialogues\.jsonl; expected the log_path of a run"):
        read_step(directory, 1)


@pytest.mark.parametrize("row", [{"step": 12}, {"step": 12, "time/step": 5.0, "time/total": 6.0}], ids=str)
def test_rows_without_timings_are_refused(directory, row):
    (directory / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(ConfigError, match=rf"step {row.get('step')} of .* has no timings; another tool has written it"):
        read_step(directory, None)
