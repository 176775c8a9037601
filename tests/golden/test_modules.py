"""The expected outputs, all in one folder beside protoc's modules: imported in a fresh interpreter and type-checked."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LEFT_OUT = {"templates"}  # has no stubs of its messages
CASES = sorted(
    path.parent
    for path in HERE.glob("*/expected")
    if not path.parent.name.startswith("fault_") and path.parent.name not in LEFT_OUT
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("golden")
    for case in CASES:
        shutil.copytree(case / "expected", out, dirs_exist_ok=True)
        protos = [str(path.relative_to(case)) for path in case.rglob("*.proto")]
        subprocess.run(
            [
                *(sys.executable, "-m", "grpc_tools.protoc", f"-I{case}", f"-I{ROOT / 'proto'}"),
                *(f"--python_out={out}", *protos),
            ],
            check=True,
        )
    return out


def modules(tree: Path) -> list[str]:
    return sorted(
        ".".join(path.relative_to(tree).with_suffix("").parts) for path in tree.rglob("*_eventwire.py")
    )


def test_every_module_imports(tree: Path) -> None:
    names = modules(tree)
    code = f"import importlib\nfor name in {names!r}: importlib.import_module(name)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tree, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(names) >= 25


@pytest.mark.slow
def test_mypy_strict_passes(tree: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--explicit-package-bases", "--namespace-packages"),
            *("--exclude", r"_pb2\.py$", "."),
        ],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_pyright_strict_passes(tree: Path) -> None:
    settings = {
        "typeCheckingMode": "strict",
        "exclude": ["**/*_pb2.py"],
        "extraPaths": [str(ROOT / "runtime")],
        "venvPath": str(Path(sys.prefix).parent),
        "venv": Path(sys.prefix).name,
    }
    (tree / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [str(Path(sys.executable).parent / "pyright"), "-p", str(tree)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_ruff_would_leave_the_modules_as_they_are(tree: Path) -> None:
    # A class named by a keyword brings a block of its own, whose blank lines are not ruff's.
    files = [str(path) for path in tree.rglob("*_eventwire.py") if path.stem != "keyword_names_eventwire"]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length=110", "--diff", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
