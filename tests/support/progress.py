"""Says now and then how far a long run of the tests is, in place of its dots, and names what fails at once."""

import time

import pytest

# From this many tests on there are lines instead of dots.
_MANY = 500
_STEP = 5  # percent


class Progress:
    """Prints a line for every few percent of the tests."""

    def __init__(self, config: pytest.Config) -> None:
        """Begins with nothing run; counts from the collection on."""
        self._config = config
        self._session: pytest.Session | None = None
        self._began = time.monotonic()
        self._done = self._failed = self._told = 0

    @pytest.hookimpl
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Keeps the session, which knows how many tests there are."""
        self._session = session

    @property
    def _total(self) -> int:
        return 0 if self._session is None else self._session.testscollected

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """No dot for a test that passed, where there are many."""
        if self._total >= _MANY and report.when == "call" and report.passed and not hasattr(report, "wasxfail"):
            return "passed", "", ""
        return None

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Counts a test when its teardown is done; with xdist in the process that hands the tests out."""
        if self._total < _MANY:
            return
        if report.failed:
            self._failed += 1
            self._write(f"FAILED {report.nodeid}")
        if report.when == "teardown":
            self._done += 1
            percent = 100 * self._done // self._total
            if percent >= self._told + _STEP or self._done == self._total:
                self._told = percent
                failed = f", {self._failed} FAILED" if self._failed else ""
                seconds = time.monotonic() - self._began
                self._write(f"{percent:3d} %  {self._done} of {self._total} tests, {seconds:.0f} s{failed}")

    def _write(self, line: str) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(line)
            reporter.flush()


def register(config: pytest.Config) -> None:
    """Only in the process that reports, and only where no names of tests are asked for (`-v`)."""
    if not hasattr(config, "workerinput") and config.option.verbose <= 0:
        config.pluginmanager.register(Progress(config), "progress")
