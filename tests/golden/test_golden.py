"""What the plugin writes for each input under `tests/golden/<case>/`: compared with `expected/` there.

`EVENTWIRE_UPDATE_GOLDEN=1` writes `expected/` anew. A case of faults has `expected/faults.txt` and nothing else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CASES = sorted(path.name for path in HERE.iterdir() if path.is_dir() and any(path.rglob("*.proto")))
PLUGIN = Path(sys.executable).parent / "protoc-gen-eventwire"
UPDATE = os.environ.get("EVENTWIRE_UPDATE_GOLDEN") == "1"


def protos(case: str) -> list[str]:
    folder = HERE / case
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.proto"))


def compile_with_protoc(case: str, out: Path) -> dict[str, str]:
    """Run the plugin under grpc_tools.protoc; gives the files it wrote, or `faults.txt` alone."""
    parameter = HERE / case / "parameter.txt"
    options = [f"--eventwire_opt={parameter.read_text().strip()}"] if parameter.exists() else []
    done = subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"--plugin=protoc-gen-eventwire={PLUGIN}"),
            *(f"-I{HERE / case}", f"-I{ROOT / 'proto'}", f"--eventwire_out={out}", *options, *protos(case)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return {"faults.txt": done.stderr}
    return written(out)


def written(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def update(folder: Path, files: dict[str, str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("case", CASES)
def test_output_is_as_expected(case: str, tmp_path: Path) -> None:
    files = compile_with_protoc(case, tmp_path)
    assert ("faults.txt" in files) == case.startswith("fault_"), files.get("faults.txt")
    if UPDATE:
        update(HERE / case / "expected", files)
    assert files == written(HERE / case / "expected")
