"""A pytest plugin: a run ends with a row for each area and server, then `N passed, N failed, N skipped`.

A row is PASS, FAIL or NOT RUN with the reason. A test that lacks what it needs (a server, a tool) skips with
a reason that begins with `NOT RUN`, and then its row is NOT RUN; other skips are facts (a transport lacks a
feature). NOT RUN fails a complete run when CI=true. A run of chosen paths shows the rows of those.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Literal

import pytest

Outcome = Literal["passed", "failed", "skipped"]

TRANSPORTS = ("memory", "sqlite", "devnull", "kafka", "amqp")
BACKENDS = ("betterproto2", "betterproto", "protobuf")  # the longer name first: one is part of the other
FOLDERS = {
    "unit": "unit tests",
    "typing": "typing",
    "docs": "docs",
    "tools": "tools and servers",
    "packaging": "packaging",
    "test_architecture.py": "architecture",
}
ALWAYS = (
    *FOLDERS.values(),
    *(f"generator: {backend}" for backend in reversed(BACKENDS)),
    *(f"transport: {transport}" for transport in TRANSPORTS),
    *(f"end to end: {transport}" for transport in TRANSPORTS if transport != "devnull"),
    *(f"faults: {transport}" for transport in TRANSPORTS if transport != "devnull"),
)
NEED = "NOT RUN"


def row_of(nodeid: str, *, server: bool) -> str:
    """The row of a test, by its path; those that a transport carries by the one they name."""
    folder, *below = PurePosixPath(nodeid.partition("::")[0]).parts[1:] or ("other",)
    words = "/".join([*below, nodeid.partition("::")[2]])
    if folder == "e2e":
        return f"end to end: {_named(words, TRANSPORTS)}"
    if folder == "chaos":
        return f"faults: {_named(words, TRANSPORTS)}"
    if server or folder in {"conformance", "integration"}:
        return f"transport: {_named(words, TRANSPORTS)}"
    if folder in {"golden", "corpus"}:
        return f"generator: {_named(words, BACKENDS, 'protobuf')}"
    return FOLDERS.get(folder, folder)


def _named(words: str, names: tuple[str, ...], default: str = "in general") -> str:
    return next((name for name in names if name in words), default)


class Row:
    """The tests of one area."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.reasons: Counter[str] = Counter()

    def add(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """Counts a test once, whatever its phases say: a failure outweighs, a skip replaces a pass."""
        if report.outcome == "skipped":
            self.reasons[_reason(report)] += 1
        if self.outcomes.get(report.nodeid) != "failed":
            self.outcomes[report.nodeid] = report.outcome

    def count(self, outcome: Outcome) -> int:
        """How many tests ended so."""
        return list(self.outcomes.values()).count(outcome)

    @property
    def status(self) -> str:
        """PASS, FAIL or NOT RUN."""
        if self.count("failed"):
            return "FAIL"
        needs = any(reason.startswith(NEED) for reason in self.reasons)
        return NEED if needs or not self.count("passed") else "PASS"

    @property
    def why(self) -> str:
        """The numbers, or the reason of NOT RUN."""
        if self.status == NEED:
            missing = [reason for reason, _ in self.reasons.most_common() if reason.startswith(NEED)]
            reason = (missing or [*self.reasons, "no test was found"])[0]
            return reason.removeprefix(NEED).lstrip(" :") or "no reason was given"
        return ", ".join(
            f"{number} {outcome}"
            for outcome in ("passed", "failed", "skipped")
            if (number := self.count(outcome)) or outcome == "passed"
        )


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    if expected := getattr(report, "wasxfail", None):
        return f"expected to fail: {expected}"
    match report.longrepr:
        case (_, _, str(reason)):
            return reason.removeprefix("Skipped: ")
        case other:
            return str(other)


class Matrix:
    """Collects the reports of a run."""

    def __init__(self, *, complete: bool) -> None:
        self.complete = complete
        self.rows: defaultdict[str, Row] = defaultdict(Row)
        if complete:
            for name in ALWAYS:
                self.rows[name]  # a row without any test is told as well

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Faults and skips of whole files."""
        if report.outcome != "passed":
            self.rows[row_of(report.nodeid, server=False)].add(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Tests; a set-up or tear-down counts when it did not pass."""
        if report.when == "call" or report.outcome != "passed":
            self.rows[row_of(report.nodeid, server="server" in report.keywords)].add(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """In CI a complete run must be complete."""
        if exitstatus == 0 and self.complete and os.environ.get("CI") == "true" and self.missing():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def missing(self) -> list[str]:
        """The rows that are NOT RUN."""
        return [name for name, row in self.rows.items() if row.status == NEED]

    @pytest.hookimpl(tryfirst=True)
    def pytest_unconfigure(self) -> None:
        """After pytest's own last line; before plugins whose last look may raise."""
        for line in self.lines():
            print(line)

    def lines(self) -> Iterator[str]:
        """The matrix and the last line."""
        width = max(map(len, self.rows), default=0)
        yield ""
        for name, row in self.rows.items():
            yield f"{row.status:<7}  {name:<{width}}  {row.why}"
        yield ""
        if self.complete and os.environ.get("CI") == "true" and self.missing():
            yield f"CI=true: NOT RUN fails: {', '.join(self.missing())}"
        passed, failed, skipped = (self.total(outcome) for outcome in ("passed", "failed", "skipped"))
        yield f"{passed} passed, {failed} failed, {skipped} skipped"

    def total(self, outcome: Outcome) -> int:
        """How many tests ended so, in all rows."""
        return sum(row.count(outcome) for row in self.rows.values())


def pytest_configure(config: pytest.Config) -> None:
    """Registers the matrix where reports arrive: not in a worker of pytest-xdist."""
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        chosen = config.args_source is pytest.Config.ArgsSource.ARGS
        chosen = chosen or any(
            config.getoption(name) for name in ("keyword", "markexpr", "ignore", "deselect")
        )
        config.pluginmanager.register(Matrix(complete=not chosen), "eventwire-matrix")
