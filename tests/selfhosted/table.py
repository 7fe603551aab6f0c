"""The table that the tests of servers end with: what they covered on each."""

from typing import Any

from tests.selfhosted.hosting import SERVERS, Server

COLUMNS = ("server", "version", "bridge", "scenarios", "objectives")
_WIDTH = 44


def write_table(terminalreporter: Any) -> None:
    """Writes a row for each server on which a test passed or failed."""
    reports = [
        (dict(report.user_properties), report)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call" or getattr(report, "failed", False)
    ]
    rows = [_row(server, bridge, reports) for server in SERVERS.values() for bridge in (True, False)]
    written = [row for row in rows if row is not None]
    if not written:
        return
    terminalreporter.section("with the real SDK, on real servers")
    widths = [max(len(line) for row in [COLUMNS, *written] for line in _lines(row[i])) for i in range(len(COLUMNS))]
    for row in [COLUMNS, *written]:
        cells = [_lines(cell) for cell in row]
        for number in range(max(map(len, cells))):
            line = [
                (cell[number] if number < len(cell) else "").ljust(width)
                for cell, width in zip(cells, widths, strict=True)
            ]
            terminalreporter.write_line("  ".join(line).rstrip())


def _row(server: Server, bridge: bool, reports: list[tuple[dict[str, Any], Any]]) -> tuple[str, ...] | None:
    on_it = [(said, report) for said, report in reports if said.get("server") == server.name]
    on_it = [(said, report) for said, report in on_it if said.get("bridge", True) == bridge]
    if not on_it:
        return None
    failed = sum(report.failed for _, report in on_it)
    scenarios = _named("scenario", on_it) + ([f"{failed} tests FAILED"] if failed else [])
    added = ", ".join(server.bridge) if bridge else "none, as released"
    return server.name, server.version, added, ", ".join(scenarios), ", ".join(_named("objective", on_it))


def _named(kind: str, reports: list[tuple[dict[str, Any], Any]]) -> list[str]:
    """Names of which every test passed, in the order of the tests."""
    names = dict.fromkeys(said[kind] for said, _ in reports if kind in said)
    failed = {said.get(kind) for said, report in reports if report.failed}
    return [name for name in names if name not in failed]


def _lines(cell: str) -> list[str]:
    lines = [""]
    for part in cell.split(", "):
        if lines[-1] and len(lines[-1]) + len(part) + 2 > _WIDTH:
            lines.append("")
        lines[-1] += (", " if lines[-1] else "") + part
    return lines
