"""The same plugin under `buf generate`: the same output, and faults at the inner places that buf gives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BIN = Path(sys.executable).parent


def generate(case: str, folder: Path) -> subprocess.CompletedProcess[str]:
    shutil.copytree(ROOT / "proto", folder / "vocabulary")
    shutil.copytree(HERE / case, folder / "proto", ignore=shutil.ignore_patterns("expected"))
    modules = {"version": "v2", "modules": [{"path": "vocabulary"}, {"path": "proto"}]}
    plugin = {"local": "protoc-gen-eventwire", "out": "gen", "strategy": "all"}
    (folder / "buf.yaml").write_text(json.dumps(modules))
    (folder / "buf.gen.yaml").write_text(json.dumps({"version": "v2", "plugins": [plugin]}))
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        [str(BIN / "buf"), "generate", "proto"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("case", ["shop_orders", "all_options", "succession", "edition2023"])
def test_buf_gives_the_same_output(case: str, tmp_path: Path) -> None:
    done = generate(case, tmp_path)
    assert done.returncode == 0, done.stderr
    expected = HERE / case / "expected"
    for path in expected.rglob("*.py*"):
        assert (tmp_path / "gen" / path.relative_to(expected)).read_text() == path.read_text()


def test_faults_stand_at_the_option_itself(tmp_path: Path) -> None:
    done = generate("fault_retry", tmp_path)
    assert done.returncode != 0
    faults = {
        line.split(": ", 1)[1]: line.split(": ", 1)[0]
        for line in done.stderr.splitlines()
        if ".proto:" in line
    }
    file = "golden/fault_retry/v1/fault_retry.proto"
    line = next(
        n
        for n, text in enumerate((HERE / "fault_retry" / file).read_text().splitlines(), 1)
        if "jitter: 2" in text
    )
    assert faults["max_attempts is 0, it must be 1 or more"].startswith(f"{file}:{line}:")
    assert faults["jitter is 2, it must be from 0 to 1"].startswith(f"{file}:{line}:")
    assert faults["max_attempts is 0, it must be 1 or more"] != faults["jitter is 2, it must be from 0 to 1"]
