"""tools/setup on machines that lack something, and where nothing is to be done."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("sh", "cat", "cksum", "date", "dirname", "env", "head", "rm", "tail")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with spaces in its path, and a PATH without any Python."""
    folder = tmp_path / "my own" / "check out"
    (folder / "tools").mkdir(parents=True)
    (folder / "bin").mkdir()
    shutil.copy(ROOT / "tools/setup", folder / "tools")
    shutil.copy(ROOT / "constraints.txt", folder)
    (folder / "pyproject.toml").write_text("")
    for name in NEEDED:
        (folder / "bin" / name).symlink_to(shutil.which(name) or name)
    return folder


def program(checkout: Path, name: str, text: str) -> None:
    path = checkout / "bin" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def setup(checkout: Path, **variables: str) -> tuple[int, list[str]]:
    environment = {"PATH": str(checkout / "bin"), "HOME": str(checkout), **variables}
    done = subprocess.run(
        [checkout / "tools/setup"], env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_no_python_is_told_in_one_line(checkout: Path) -> None:
    code, (line,) = setup(checkout)
    assert code == 1
    assert "Python 3.11 or newer is needed and not found: `apt install" in line


def test_an_old_python_is_none(checkout: Path) -> None:
    program(checkout, "python3", "exit 1")  # what the question for the version answers
    code, (line,) = setup(checkout)
    assert code == 1
    assert "not found" in line


def test_a_wrong_choice_is_named(checkout: Path) -> None:
    code, lines = setup(checkout, PYTHON="/nowhere/python3")
    assert (code, lines) == (1, ["setup: PYTHON=/nowhere/python3 is no Python of 3.11 or newer"])


def test_a_missing_ensurepip_is_told_in_one_line(checkout: Path) -> None:
    program(checkout, "python3", f'case "$*" in *ensurepip*) exit 1 ;; *) exec {sys.executable} "$@" ;; esac')
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    code, lines = setup(checkout)
    assert code == 1
    assert lines == [
        f"setup: Python {version} is here without ensurepip: `apt install python{version}-venv`, then again"
    ]


def test_an_environment_that_is_current_is_left_alone(checkout: Path) -> None:
    python = checkout / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    program(checkout, "pip", "exit 1")
    wanted = (
        f"{checkout}\n"
        + (checkout / "pyproject.toml").read_text()
        + (checkout / "constraints.txt").read_text()
    )
    checksum = subprocess.run(["cksum"], input=wanted, capture_output=True, text=True, check=True).stdout
    (checkout / ".venv/.eventwire-setup").write_text(f"{checkout}\n{checksum}")
    assert setup(checkout) == (0, [])
