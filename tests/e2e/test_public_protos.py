"""Messages of public .proto files as events: generated, filled at random, and carried by each broker unchanged."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.corpus.trees import Tree, all_trees, compiled, envelopes

_PLAIN_MESSAGES = ("opentelemetry/", "google/type/", "google/rpc/")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated modules of OpenTelemetry's files where they are at hand, else of Google's common ones."""
    work = tmp_path_factory.mktemp("public")
    trees = {tree.name: tree for tree in all_trees(work)}
    tree = trees.get("opentelemetry_proto", trees["googleapis"])
    files = [file for file in compiled(tree).file if file.name.startswith(_PLAIN_MESSAGES)]
    assert envelopes(files, work / "envelopes") > 3
    _generate(tree, work / "envelopes", work / "gen")
    return work / "gen"


def _generate(tree: Tree, topics: Path, out: Path) -> None:
    command = [sys.executable, "-m", "eventwire", "gen", str(tree.root), str(topics), "--out", str(out)]
    done = subprocess.run(command, cwd=topics, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "url",
    [
        "memory",
        pytest.param("kafka", marks=pytest.mark.server),
        pytest.param("amqp", marks=pytest.mark.server),
    ],
    indirect=True,
)
def test_every_message_arrives_as_it_was_published(generated: Path, url: str) -> None:
    command = [sys.executable, "-m", "tests.e2e.carry", str(generated), url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = re.fullmatch(r"(\d+) topics, (\d+) events\n", done.stdout)
    assert told, done.stdout
    assert int(told[1]) == len(list(generated.rglob("envelopes/*_eventwire.py")))
    assert int(told[2]) >= 3 * int(told[1])
