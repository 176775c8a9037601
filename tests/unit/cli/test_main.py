import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, version

import pytest

from eventwire import cli


def fails(argv: Sequence[str]) -> int:
    raise SystemExit(f"given {argv}")


def interrupted(argv: Sequence[str]) -> int:
    raise KeyboardInterrupt


def counts(argv: Sequence[str]) -> int:
    """Count what is given.

    Its status is the count.
    """
    return len(argv)


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        EntryPoint(each, f"{__name__}:{each}", "eventwire.commands")
        for each in ("fails", "interrupted", "counts")
    ]

    def entry_points(group: str) -> list[EntryPoint]:
        return found if group == "eventwire.commands" else []

    monkeypatch.setattr(cli, "entry_points", entry_points)


def test_a_command_gets_the_rest_and_gives_the_status() -> None:
    assert cli.main(["counts", "a", "--b"]) == 2


def test_without_a_command_the_list_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert cli.main(["--help"]) == 0
    listed = "commands:\n  counts       Count what is given.\n  fails\n"
    assert capsys.readouterr().out.count(f"usage: eventwire [--version] COMMAND ...\n\n{listed}") == 2


def test_a_command_that_cannot_be_loaded_is_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = EntryPoint("broken", "no_such_module:command", "eventwire.commands")

    def entry_points(group: str) -> list[EntryPoint]:
        return [broken]

    monkeypatch.setattr(cli, "entry_points", entry_points)
    assert cli.main(["--help"]) == 0
    assert "  broken  cannot be loaded: No module named 'no_such_module'\n" in capsys.readouterr().out


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"eventwire {version('eventwire')}\n"


@pytest.mark.parametrize(
    ("name", "told"), [("count", 'did you mean "counts"?'), ("zzz", "there are counts, fails, interrupted")]
)
def test_an_unknown_command_is_told_with_what_there_is(
    name: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([name]) == 2
    assert capsys.readouterr().err == f'eventwire: no command "{name}", {told}\n'


def test_the_ways_that_commands_end_are_statuses() -> None:
    assert cli.main(["fails"]) == 2
    assert cli.main(["interrupted"]) == 130


def test_python_m_eventwire_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "eventwire", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert {"gen", "proto-path", "run", "vendor"} <= set(done.stdout.split())
