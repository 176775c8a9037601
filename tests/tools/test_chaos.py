"""The fault suite's driver: what it writes into the page, and when it believes that a mutant was caught."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.chaos.mutants import Mutant, known
from tests.chaos.report import Figures
from tools import chaos
from tools.chaos import Trial, caught, filled, read, table, verdicts

KILLS = Figures(
    "tests/chaos/test_kills.py::test_killed_workers_lose_nothing[sqlite]",
    1,
    "workers killed",
    "sqlite",
    events=200_000,
    faults="20 SIGKILLs",
    duplicates=1_802,
    bound=16_000,
    notes=["a", "b"],
    seconds=47.6,
    passed=True,
    seed=7,
)
SABOTAGE = Mutant("m", "tests/chaos/test_a.py::test_x[sqlite]", "lost: ", "It breaks.", lambda: None)
GREEN, RED = Trial(0, "1 passed", 1.0), Trial(1, "E   Violation: lost: 3 of 9\n1 failed", 1.0)


def test_a_row_tells_the_figures_and_the_mutants() -> None:
    _, _, row, _, summary = table([KILLS])
    assert row == (
        "| 1 | workers killed | sqlite | 200,000 | 20 SIGKILLs | 0 | 1,802 / 16,000 | 48 | a; b | "
        "`ack_before_the_handler` |"
    )
    assert summary.startswith("1 of 1 rows green; seeds 7; 1 minutes on ")


def test_a_bar_that_failed_is_red_in_the_page() -> None:
    _, _, row, _, summary = table([replace(KILLS, passed=False)])
    assert row.startswith("| 1 **RED** |")
    assert summary.startswith("0 of 1 rows green")


def test_the_last_row_of_a_test_counts(tmp_path: Path) -> None:
    left = tmp_path / "figures.jsonl"
    rows = [replace(KILLS, passed=False), KILLS, replace(KILLS, test="tests/chaos/test_a.py::test_x", bar=0)]
    left.write_text("".join(f"{json.dumps(asdict(row))}\n" for row in rows))
    assert read(left) == [rows[2], KILLS]
    assert read(tmp_path / "none") == []


def test_only_what_stands_between_the_marks_is_written() -> None:
    page = f"before\n{chaos.BEGIN}old\n{chaos.END}after\n"
    assert filled(page, "new\n") == f"before\n{chaos.BEGIN}new\n{chaos.END}after\n"
    assert chaos.BEGIN in chaos.PAGE.read_text()


@pytest.mark.parametrize(
    ("sick", "healthy", "expected"),
    [
        (RED, GREEN, True),
        (GREEN, GREEN, False),
        (RED, RED, False),
        (Trial(1, "E   KeyError: another fault", 1.0), GREEN, False),
        (Trial(4, "lost: the test was not found", 1.0), GREEN, False),
    ],
)
def test_a_mutant_is_caught_by_a_bar_that_is_green_without_it_and_says_why(
    sick: Trial, healthy: Trial, *, expected: bool
) -> None:
    assert caught(SABOTAGE, sick, healthy) is expected
    [line] = verdicts([SABOTAGE], {"m": sick}, {SABOTAGE.bar: healthy})
    assert line.startswith("CAUGHT" if expected else "MISSED")


def test_every_mutant_names_a_test_that_exists() -> None:
    for mutant in known().values():
        path, _, name = mutant.bar.partition("::")
        assert f"def {name.partition('[')[0]}(" in Path(path).read_text(), mutant.name
        assert mutant.breaks, f"{mutant.name} does not say what it breaks"


def test_an_unknown_mutant_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert chaos.mutants(["nobody"]) == 2
    assert "no such mutant: nobody; there are " in capsys.readouterr().out
