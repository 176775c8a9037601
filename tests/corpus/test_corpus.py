"""Every public file at hand, and every awkward name we could think of: generated, imported and type-checked.

`EVENTWIRE_CORPUS` names the folder of the public files: one folder for each tree.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.corpus.trees import CHECKOUT, Tree, all_trees, compiled, corpus, envelopes

pytestmark = pytest.mark.slow

_IMPORT_ALL = """
import importlib, pathlib, sys
root, package = pathlib.Path(sys.argv[1]), sys.argv[2]
sys.path.insert(0, str(root))
folder = root / package.replace(".", "/") if package else root
for path in sorted(folder.rglob("*.py")):
    parts = path.relative_to(root).with_suffix("").parts
    importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    print(path)
"""


@dataclass(frozen=True)
class Generated:
    """Where a tree was generated to: the folder for sys.path, the package if any, the number of topics."""

    tree: Tree
    root: Path
    package: str
    topics: int

    @property
    def folder(self) -> Path:
        return self.root / self.package.replace(".", "/")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> list[Generated]:
    work = tmp_path_factory.mktemp("corpus")
    made: list[Generated] = []
    for tree in all_trees(work):
        made.append(_generate(tree, work, package=""))
        if not tree.external:
            made.append(_generate(tree, work, package=f"moved.{tree.name}"))
    return made


def test_the_public_corpus_is_at_hand(generated: list[Generated]) -> None:
    if not corpus().is_dir():
        pytest.skip("there is no folder of public files: set EVENTWIRE_CORPUS (Google's common files ran)")
    names = {each.tree.name for each in generated}
    assert names > {"names", "googleapis"}, f"no folder of {corpus()} holds .proto files"


def test_every_message_is_an_event_of_a_topic(generated: list[Generated]) -> None:
    for each in generated:
        stubs = list(each.folder.rglob("envelopes/*_eventwire.py"))
        assert len(stubs) == each.topics > 0, each.tree


def test_every_module_imports_in_a_fresh_interpreter(generated: list[Generated]) -> None:
    for each in generated:
        command = [sys.executable, "-c", _IMPORT_ALL, str(each.root), each.package]
        done = _run(command, each.root)
        assert done.returncode == 0, f"{each.tree.name}: {done.stderr}"
        assert len(done.stdout.splitlines()) == len(list(each.folder.rglob("*.py")))


def test_mypy_strict_accepts_every_module(generated: list[Generated]) -> None:
    for root in sorted({each.root for each in generated}):
        done = _run([sys.executable, "-m", "mypy", "--config-file", str(_mypy_settings(root)), "."], root)
        assert done.returncode == 0, done.stdout + done.stderr


def test_pyright_strict_accepts_every_module(generated: list[Generated]) -> None:
    for root in sorted({each.root for each in generated}):
        _pyright_settings(root)
        done = _run([sys.executable, "-m", "pyright", "--pythonpath", sys.executable], root)
        assert done.returncode == 0, done.stdout[:5000] + done.stderr


def test_a_second_run_changes_nothing(generated: list[Generated]) -> None:
    for each in generated:
        done = _run(_command(each.tree, each.root.parent, each.folder, each.package), each.root.parent)
        assert " 0 changed " in done.stdout, done.stdout + done.stderr


def _generate(tree: Tree, work: Path, package: str) -> Generated:
    # One folder for all trees below packages, so that the type checkers run once for them.
    root = work / ("packages" if package else f"{tree.name}-gen")
    folder = root / package.replace(".", "/")
    folder.mkdir(parents=True)
    topics = envelopes(compiled(tree).file, _envelopes(tree, work))
    done = _run(_command(tree, work, folder, package), work)
    assert done.returncode == 0, f"{tree.name}: {done.stderr}"
    return Generated(tree, root, package, topics)


def _command(tree: Tree, work: Path, folder: Path, package: str) -> list[str]:
    command = [sys.executable, "-m", "eventwire", "gen", str(tree.root), str(_envelopes(tree, work))]
    return [*command, "--out", str(folder), *(["--package", package] if package else [])]


def _envelopes(tree: Tree, work: Path) -> Path:
    return work / f"{tree.name}-envelopes"


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def _mypy_settings(root: Path) -> Path:
    settings = "[mypy]\nstrict = true\nexplicit_package_bases = true\nnamespace_packages = true\n"
    (root / "mypy.ini").write_text(f"{settings}mypy_path = {CHECKOUT / 'runtime'}\n", encoding="utf-8")
    return root / "mypy.ini"


def _pyright_settings(root: Path) -> None:
    settings = {
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "exclude": ["**/*_pb2.py"],
        "extraPaths": [str(CHECKOUT / "runtime")],
    }
    (root / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
