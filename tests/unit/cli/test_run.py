import subprocess
import sys
from pathlib import Path

import pytest

APP = """
from eventwire.errors import Unreachable
from eventwire.worker import Worker

class Told(Worker):
    def __init__(self, name="worker"):
        self.name = name

    async def run(self):
        print("ran", self.name)

class Down(Told):
    async def run(self):
        raise Unreachable("no connection to kafka://localhost:9092")

class Buggy(Told):
    async def run(self):
        raise KeyError("a bug")

worker, down, buggy, number = Told(), Down(), Buggy(), 3

def factory():
    return Told("factory")

async def later():
    return Told("later")

def none():
    return None

class Space:
    worker = Told("space")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    (folder / "app.py").write_text(APP)
    (folder / "broken.py").write_text("import no_such_driver")
    return folder


def run(folder: Path, target: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "eventwire", "run", target]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("attribute", "ran"),
    [("worker", "worker"), ("factory", "factory"), ("later", "later"), ("Space.worker", "space")],
)
def test_a_worker_or_what_returns_one_is_run(folder: Path, attribute: str, ran: str) -> None:
    done = run(folder, f"app:{attribute}")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ran {ran}\n", "")


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("app", '"app" is not MODULE:ATTR, for example shop.app:worker'),
        ("nowhere:worker", 'there is no module "nowhere" here or on sys.path'),
        ("app.nowhere:worker", 'there is no module "app.nowhere" here or on sys.path'),
        ("app:nothing", 'app has no "nothing"'),
        ("app:number", "app:number is no Worker and returns none, but int"),
        ("app:none", "app:none is no Worker and returns none, but NoneType"),
    ],
)
def test_what_is_no_worker_is_told_in_a_line(folder: Path, target: str, told: str) -> None:
    done = run(folder, target)
    assert (done.returncode, done.stderr) == (2, f"eventwire run: {told}\n")


def test_an_error_of_eventwire_is_a_line(folder: Path) -> None:
    done = run(folder, "app:down")
    told = "eventwire run: Unreachable: no connection to kafka://localhost:9092\n"
    assert (done.returncode, done.stderr) == (1, told)


@pytest.mark.parametrize("target", ["app:buggy", "broken:worker"])
def test_an_error_of_the_user_keeps_its_traceback(folder: Path, target: str) -> None:
    done = run(folder, target)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
