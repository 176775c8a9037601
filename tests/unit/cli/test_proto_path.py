from pathlib import Path

import pytest

import eventwire
from eventwire.cli import proto_path

OPTIONS = Path("eventwire/v1/options.proto")


def test_it_prints_the_include_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert proto_path.command([]) == 0
    assert (Path(capsys.readouterr().out.strip()) / OPTIONS).is_file()


def test_a_checkout_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = _package(tmp_path / "runtime/eventwire", monkeypatch)
    _options(package / "_proto")
    assert proto_path.folder() == package / "_proto"
    _options(tmp_path / "proto")
    assert proto_path.folder() == tmp_path / "proto"


def _package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(eventwire, "__file__", str(folder / "__init__.py"))
    return folder


def _options(root: Path) -> None:
    (root / OPTIONS).parent.mkdir(parents=True)
    (root / OPTIONS).touch()
