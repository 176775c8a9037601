from pathlib import Path

import pytest

from eventwire_gen.cli import vendor
from eventwire_gen.compile.includes import OPTIONS, vocabulary


def test_it_copies_the_vocabulary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / OPTIONS
    assert vendor.command([str(tmp_path)]) == 0
    assert target.read_bytes() == (vocabulary() / OPTIONS).read_bytes()
    assert vendor.command([str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{target} updated\n{target} unchanged\n"


def test_the_folder_is_third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    vendor.command([])
    assert (tmp_path / "third_party" / OPTIONS).is_file()


def test_check_reports_drift_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / OPTIONS
    assert vendor.command([str(tmp_path), "--check"]) == 1
    assert "is missing" in capsys.readouterr().out
    assert not target.exists()
    vendor.command([str(tmp_path)])
    assert vendor.command([str(tmp_path), "--check"]) == 0
    target.write_text("older")
    assert vendor.command([str(tmp_path), "--check"]) == 1
    assert "differs from the installed version: run `eventwire vendor" in capsys.readouterr().out
    assert target.read_text() == "older"
    vendor.command([str(tmp_path)])
    assert vendor.command([str(tmp_path), "--check"]) == 0


def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert vendor.command([str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith(f"eventwire vendor: {tmp_path}/file/eventwire")
