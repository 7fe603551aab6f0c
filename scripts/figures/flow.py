"""The data flow of a step, as SVG written by hand: positions here, colours in the palette."""

from pathlib import Path

from palette import Palette, both

_WIDTH, _HEIGHT = 728, 340
_TITLE = "How a training step flows"
_TEXT = (
    "The tutor, which is trained, talks with the student, which is frozen, about a problem. The teacher, also frozen, "
    "scores every token of the tutor. The training step moves the tutor towards the teacher, and its new weights play "
    "the next dialogues."
)


def write(directory: Path) -> list[Path]:
    """Writes the figure for light and dark pages."""
    files = both(directory, "data-flow")
    for path, palette in files:
        path.write_text(_svg(palette), encoding="utf-8")
    return [path for path, _ in files]


def _svg(palette: Palette) -> str:
    tutor, student, teacher, step = palette.accents
    parts = [
        _box(8, 54, 144, 84, palette.soft, "Problem", ["and the student's", "mistake"], palette),
        f'<rect x="200" y="12" width="328" height="172" rx="12" fill="none" stroke="{palette.soft}" '
        'stroke-dasharray="5 4"/>',
        _text(216, 38, "Dialogue", palette.soft, anchor="start"),
        _box(216, 54, 136, 84, tutor, "Tutor", ["is trained,", "plain prompt"], palette),
        _box(376, 54, 136, 84, student, "Student", ["frozen, makes", "the mistake"], palette),
        _box(576, 54, 144, 84, teacher, "Teacher", ["frozen,", "Socratic prompt"], palette),
        _box(216, 252, 296, 70, step, "Training step", ["on Tinker, a server like it, or here"], palette),
        _box(8, 245, 144, 84, palette.soft, "Run directory", ["saves, metrics,", "report.html"], palette),
        _arrow("M152 96 H200", palette),
        _arrow("M324 138 Q364 176 404 138", palette, both_ends=True),
        _arrow("M528 96 H576", palette),
        _arrow("M648 138 V287 H512", palette),
        _arrow("M270 252 V138", palette),
        _arrow("M216 287 H152", palette),
        _text(640, 214, "a score for every", palette.soft, anchor="end"),
        _text(640, 232, "token of the tutor", palette.soft, anchor="end"),
        _text(260, 224, "new weights", palette.soft, anchor="end"),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img" aria-labelledby="title text" '
        "font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif\">\n"
        f'<title id="title">{_TITLE}</title>\n<desc id="text">{_TEXT}</desc>\n'
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
        f'orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="{palette.ink}"/></marker></defs>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _box(x: int, y: int, width: int, height: int, colour: str, title: str, lines: list[str], palette: Palette) -> str:
    middle, top = x + width // 2, y + (height - 20 * len(lines)) // 2 + 5
    texts = [_text(middle, top, title, palette.ink, size=16, weight=650)]
    texts += [_text(middle, top + 20 * (i + 1), line, palette.soft) for i, line in enumerate(lines)]
    frame = (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="9" fill="{palette.panel}" stroke="{colour}" '
        'stroke-width="2"/>'
    )
    return "\n".join([frame, *texts])


def _text(x: int, y: int, text: str, colour: str, anchor: str = "middle", size: int = 14, weight: int = 400) -> str:
    return (
        f'<text x="{x}" y="{y}" fill="{colour}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{text}</text>'
    )


def _arrow(path: str, palette: Palette, both_ends: bool = False) -> str:
    start = ' marker-start="url(#head)"' if both_ends else ""
    return f'<path d="{path}" fill="none" stroke="{palette.ink}" stroke-width="1.6" marker-end="url(#head)"{start}/>'
