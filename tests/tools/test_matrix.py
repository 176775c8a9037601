"""The rows at the end of a test run."""

from typing import Literal

import pytest

from tools.matrix import ALWAYS, Matrix, row_of


def report(
    test: str,
    outcome: Literal["passed", "failed", "skipped"],
    *,
    when: Literal["setup", "call", "teardown"] = "call",
    reason: str = "",
    server: bool = False,
) -> pytest.TestReport:
    why = ("file.py", 1, f"Skipped: {reason}") if outcome == "skipped" else None
    return pytest.TestReport(test, ("file.py", 1, test), {"server": 1} if server else {}, outcome, why, when)


def matrix_of(*reports: pytest.TestReport) -> Matrix:
    matrix = Matrix(complete=False)
    for each in reports:
        matrix.pytest_runtest_logreport(each)
    return matrix


@pytest.mark.parametrize(
    ("nodeid", "server", "row"),
    [
        ("tests/unit/transports/test_kafka.py::test_x", False, "unit tests"),
        ("tests/unit/transports/test_kafka.py::test_x", True, "transport: kafka"),
        ("tests/conformance/test_sqlite.py::test_x", False, "transport: sqlite"),
        ("tests/conformance/test_names.py::test_x[amqp]", False, "transport: amqp"),
        ("tests/conformance/test_suite.py::test_x", False, "transport: in general"),
        ("tests/golden/test_golden.py::test_x[betterproto2-maps]", False, "generator: betterproto2"),
        ("tests/golden/test_golden.py::test_x[betterproto-maps]", False, "generator: betterproto"),
        ("tests/golden/test_golden.py::test_x[maps]", False, "generator: protobuf"),
        ("tests/test_architecture.py::test_x", False, "architecture"),
        ("tests/e2e/test_demo.py::test_x[sqlite]", False, "end to end: sqlite"),
        ("tests/e2e/test_demo.py::test_x[kafka]", True, "end to end: kafka"),
        ("tests/chaos/test_kills.py::test_x[sqlite]", False, "faults: sqlite"),
        ("tests/chaos/test_kills.py::test_x[kafka]", True, "faults: kafka"),
        ("tests/chaos/test_oracle.py::test_x", False, "faults: in general"),
        ("tests/other/test_x.py::test_x", False, "other"),
    ],
)
def test_a_test_belongs_to_the_row_of_its_area(nodeid: str, server: bool, row: str) -> None:
    assert row_of(nodeid, server=server) == row


def test_a_failed_tear_down_fails_a_test_that_passed() -> None:
    matrix = matrix_of(
        report("tests/unit/test_a.py::test_x", "passed"),
        report("tests/unit/test_a.py::test_x", "failed", when="teardown"),
    )
    assert [*matrix.lines()] == [
        "",
        "FAIL     unit tests  0 passed, 1 failed",
        "",
        "0 passed, 1 failed, 0 skipped",
    ]


def test_a_skip_for_a_missing_feature_leaves_the_row_passed() -> None:
    matrix = matrix_of(
        report("tests/conformance/test_devnull.py::test_x", "passed"),
        report("tests/conformance/test_devnull.py::test_y", "skipped", when="setup", reason="no replay"),
    )
    assert [*matrix.lines()][1] == "PASS     transport: devnull  1 passed, 1 skipped"


def test_what_could_not_run_gives_its_reason() -> None:
    matrix = matrix_of(
        report("tests/conformance/test_kafka.py::test_x", "passed"),
        report("tests/conformance/test_kafka.py::test_y", "skipped", when="setup", reason="NOT RUN: no java"),
    )
    assert [*matrix.lines()][1] == "NOT RUN  transport: kafka  no java"


def test_a_complete_run_tells_areas_without_a_test() -> None:
    assert Matrix(complete=True).missing() == [*ALWAYS]


def test_a_test_under_two_settings_counts_once_per_setting() -> None:
    matrix = matrix_of(
        report("tests/docs/test_a.py::test_x[1]", "passed"),
        report("tests/docs/test_a.py::test_x[2]", "passed"),
    )
    assert [*matrix.lines()][-1] == "2 passed, 0 failed, 0 skipped"
