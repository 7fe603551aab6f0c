"""What runs had reached, kept in files, so that no run is trained twice."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from learning_costs import Point

# Evaluations along a run, as shares of its steps.
LOOKS = (0.25, 0.5, 0.75, 1.0)


def looks(steps: int) -> list[int]:
    """The steps after which a run is measured."""
    return sorted({max(1, round(share * steps)) for share in LOOKS})


def kept_run(path: Path, about: Mapping[str, Any], run: Callable[[], list[Point]]) -> list[Point]:
    """The points of a run that is kept in a file, where it is a run of this; else it is done, and kept."""
    about = json.loads(json.dumps(about, default=str))
    if path.exists() and (kept := json.loads(path.read_text()))["about"] == about:
        return [Point(**point) for point in kept["points"]]
    points = run()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"about": about, "points": [asdict(point) for point in points]}), encoding="utf-8")
    return points


def slug(name: str) -> str:
    """A name as part of a file's."""
    return "-".join(re.findall(r"[a-z0-9_.=]+", name.lower()))
