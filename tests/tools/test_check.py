"""`make check` and the parts of `make test-all` that compute something."""

import sys

import pytest

from tools import check, test_all
from tools.check import Step


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
