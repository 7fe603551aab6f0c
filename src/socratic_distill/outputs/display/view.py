"""What the live view shows, as lines of a given width. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from socratic_distill.outputs.display.protocol import Moment
from socratic_distill.outputs.display.tally import Tally
from socratic_distill.outputs.display.text import Glyphs, amount, bar, cut, dollars, shaped, sparkline
from socratic_distill.text import duration, printable

_WIDEST = 100  # beyond it a line is hard to follow
_LABEL = 11
_FIGURE = 6  # curves and bars begin below each other
_WIDEST_GRAPH, _SMALLEST_GRAPH = 32, 6
_GAP = "  "

Draw = Callable[[int], Text]


@dataclass(frozen=True)
class Scene:
    """All that the view shows.

    Attributes:
        moment: the run as it stands.
        tally: its steps so far.
        elapsed: seconds since this process began its first batch.
        left: seconds to the end of the run; None if it is not known yet.
        has_ended: whether the run is over, done or failed.
    """

    moment: Moment
    tally: Tally
    elapsed: float
    left: float | None
    has_ended: bool = False


class View:
    """Draws scenes.

    Each line has a label, a figure, perhaps a bar or a curve, and more figures. Where there is little room, the last
    figures are left out, then the bars; curves stay.
    """

    def __init__(self, glyphs: Glyphs, encoding: str) -> None:
        """Draws with `glyphs`; texts that were given are made printable in an encoding."""
        self._glyphs = glyphs
        self._encoding = encoding

    def lines(self, scene: Scene, width: int) -> list[Text]:
        """The lines, at most `width` cells wide each."""
        width = min(width, _WIDEST)
        rows = [self._step, self._batch, self._teacher_kl, self._tells, self._tokens, self._cost]
        lines = [row(scene, width) for row in (*rows, self._checkpoint, self._evaluation)]
        return [line for line in lines if line is not None]

    def _step(self, scene: Scene, width: int) -> Text:
        now, elapsed = scene.moment, f"{duration(scene.elapsed)} elapsed"
        left = scene.left is not None and not scene.has_ended and now.batch < now.total
        texts = [f"{duration(scene.left)} left", elapsed] if left and scene.left is not None else [elapsed]
        return self._row("step", f"{now.batch}/{now.total}", texts, width, self._bar(now.batch, now.total))

    def _batch(self, scene: Scene, width: int) -> Text | None:
        now = scene.moment
        if now.batch >= now.total or not now.dialogues:
            return None
        texts = ["stopped here"] if scene.has_ended else [f"{now.in_flight} in flight", now.stage]
        graph = self._bar(now.dialogues_done, now.dialogues)
        return self._row(f"batch {now.batch}", f"{now.dialogues_done}/{now.dialogues}", texts, width, graph)

    def _teacher_kl(self, scene: Scene, width: int) -> Text | None:
        values = [step.teacher_kl for step in scene.tally.steps]
        known = [value for value in values if value is not None]
        if not known:
            return None
        graph = self._curve(values, min(0.0, *known), max(known))
        return self._row("teacher_kl", f"{known[-1]:.3f}", ["nats a token"], width, graph, is_needed=True)

    def _tells(self, scene: Scene, width: int) -> Text | None:
        values, last = [step.tells for step in scene.tally.steps], scene.tally.last or {}
        known = [value for value in values if value is not None]
        if not known:
            return None
        others = {name: shaped(last.get(key), "{:.0%}") for name, key in _SHARES.items()}
        texts = [f"{name} {value}" for name, value in others.items() if value is not None]
        graph = self._curve(values, 0.0, 1.0)
        return self._row("tells", f"{known[-1]:.0%}", texts, width, graph, is_needed=True)

    def _tokens(self, scene: Scene, width: int) -> Text | None:
        tally = scene.tally
        if not tally.counted:
            return None
        counts = {"sampled": tally.sampled, "read": tally.read, "trained": tally.trained}
        first, *others = [f"{amount(count)} {name}" for name, count in counts.items() if count or name == "sampled"]
        return self._row("tokens", first, others, width)

    def _cost(self, scene: Scene, width: int) -> Text | None:
        tally, now = scene.tally, scene.moment
        if not tally.usd:
            return None
        whole = tally.usd + tally.usd / tally.counted * (now.total - now.batch)
        later = [] if scene.has_ended or now.batch >= now.total else [f"{dollars(whole)} at the end"]
        return self._row("cost", f"about {dollars(tally.usd)}", later, width)

    def _checkpoint(self, scene: Scene, width: int) -> Text:
        return self._row("checkpoint", scene.moment.checkpoint or "none yet", [], width)

    def _evaluation(self, scene: Scene, width: int) -> Text | None:
        text = scene.moment.evaluation
        return self._row("evaluation", text, [], width) if text else None

    def _row(
        self,
        label: str,
        figure: str,
        texts: Sequence[str],
        width: int,
        graph: Draw | None = None,
        is_needed: bool = False,
    ) -> Text:
        """One line: label, figure, graph, texts; the graph before the texts where it is needed, else after them."""
        if graph is not None:
            figure = figure.ljust(_FIGURE)
        label = f"{label} ".ljust(_LABEL)
        room = width - cell_len(label) - cell_len(figure)
        reserved = len(_GAP) + _WIDEST_GRAPH // 2 if is_needed else 0
        kept: list[str] = []
        for text in texts:
            if sum(cell_len(part) + len(_GAP) for part in (*kept, text)) > room - reserved:
                break
            kept.append(text)
        space = min(_WIDEST_GRAPH, room - len(_GAP) - sum(cell_len(part) + len(_GAP) for part in kept))
        line = Text(end="", no_wrap=True).append(label, style="dim")
        line.append(cut(self._plain(figure), width - cell_len(label), self._glyphs), style="bold")
        if graph is not None and space >= _SMALLEST_GRAPH:
            line.append(_GAP).append_text(graph(space))
        for text in kept:
            line.append(_GAP).append(self._plain(text))
        return line if line.cell_len <= width else Text(cut(line.plain, width, self._glyphs), end="", no_wrap=True)

    def _plain(self, text: str) -> str:
        return printable(text, self._encoding).replace("\n", " ").replace("\t", " ")

    def _bar(self, done: int, total: int) -> Draw:
        def draw(width: int) -> Text:
            filled, rest = bar(done, total, width, self._glyphs)
            return Text(filled, style="cyan").append(rest, style="dim")

        return draw

    def _curve(self, values: Sequence[float | None], low: float, high: float) -> Draw:
        def draw(width: int) -> Text:
            # As wide as the bars, however few steps there are.
            return Text(sparkline(values, low, high, width, self._glyphs).ljust(width), style="cyan")

        return draw


_SHARES = {"asks": "first_reply/asks", "solved": "solved"}
