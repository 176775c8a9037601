"""`make check` and the parts of `make test-all` that compute something."""

import sys
from pathlib import Path

import pytest

from tools import check, test_all
from tools.check import Step
from tools.test_all import Result


def step(name: str, code: str) -> Step:
    return Step(name, (sys.executable, "-c", code))


def test_every_step_runs_and_the_failed_ones_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = (step("one", "exit('the reason')"), step("two", "print('fine')"), step("three", "exit(3)"))
    monkeypatch.setattr(check, "STEPS", steps)
    assert check.main([]) == 1
    output = capsys.readouterr().out
    assert "ok     two" in output
    assert "the reason" in output
    assert output.endswith("check: FAILED: one, three\n")


def test_steps_that_pass_end_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "STEPS", (step("one", ""), step("two", "exit(1)")))
    assert check.main(["one"]) == 0
    assert capsys.readouterr().out.endswith("check: all 1 steps passed\n")


def test_the_lowest_versions_are_the_bounds_of_pyproject() -> None:
    pins = test_all.lowest_pins()
    names = [pin.partition("==")[0] for pin in pins]
    assert {"protobuf", "aiokafka", "aio-pika", "jinja2", "grpcio-tools", "pytest"} <= {*names}
    assert len(names) == len({*names})
    assert [pin for pin in pins if not pin.partition("==")[2]] == []


@pytest.mark.parametrize(
    ("requirement", "bound"),
    [
        ("protobuf>=6.33.5", ("protobuf", "6.33.5")),
        ("betterproto[compiler]==2.0.0b7", ("betterproto", "2.0.0b7")),
        ("typing-extensions>=4.14; python_version < '3.12'", ("typing-extensions", "4.14")),
    ],
)
def test_a_lower_bound(requirement: str, bound: tuple[str, str]) -> None:
    assert test_all.bound_of(requirement) == bound


def test_this_python_is_the_first() -> None:
    assert next(test_all.pythons()) == (f"3.{sys.version_info.minor}", sys.executable)


def test_the_last_table_says_what_failed_and_what_was_not_run() -> None:
    results = {
        "3.11": Result(0, "9 passed, 0 failed, 0 skipped, 7 s"),
        "3.14": Result(0, "", ["no such Python"]),
        "lowest": Result(1, "8 passed, 1 failed, 0 skipped, 7 s"),
    }
    assert [*test_all.table(results)] == [
        "PASS     3.11     9 passed, 0 failed, 0 skipped, 7 s",
        "NOT RUN  3.14     no such Python",
        "FAIL     lowest   8 passed, 1 failed, 0 skipped, 7 s",
        "\ntest-all: FAIL: 1 PASS, 1 FAIL, 1 NOT RUN",
    ]


@pytest.mark.parametrize(
    ("test", "said", "status"),
    [
        ("def test(): pass", "1 passed, 0 failed, 0 skipped", "PASS"),
        ("def test(): assert False", "0 passed, 1 failed, 0 skipped", "FAIL"),
        (
            "import pytest\ndef test(): pytest.skip('NOT RUN: no tool')",
            "0 passed, 0 failed, 1 skipped",
            "NOT RUN",
        ),
        ("syntax error", "0 passed, 1 failed, 0 skipped", "FAIL"),
    ],
)
def test_a_run_keeps_the_numbers_and_what_was_missing(
    test: str, said: str, status: str, tmp_path: Path
) -> None:
    (tmp_path / "test_it.py").write_text(test)
    options = ["-q", "-p", "tools.matrix", f"--rootdir={tmp_path}", "--import-mode=importlib", str(tmp_path)]
    result = test_all.pytest(Path(sys.executable), test_all.ROOT, *options)
    assert result.said.startswith(said)
    assert result.status == status


def test_what_is_left_out_elsewhere_exists() -> None:
    for option in [*test_all.ONCE, test_all.NO_PACKAGING]:
        path, *_ = option.partition("=")[2].split("::")
        assert (test_all.ROOT / path).exists()
