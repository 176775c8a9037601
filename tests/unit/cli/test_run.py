import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
APP = """
import logging, os, signal
from eventwire import Bus, Unreachable, Worker
from tests.unit.shop import ORDERS, OrdersHandler, Placed

class Orders(OrdersHandler):
    async def on_placed(self, event, context):
        for level in ("debug", "info", "warning"):
            getattr(logging.getLogger("eventwire.worker"), level)("%s logged", level)
        logging.getLogger("others").info("others logged")
        os.kill(os.getpid(), signal.SIGTERM)

async def real():
    bus = Bus("memory://", declare=True)
    await bus.start()
    await bus.send(ORDERS, Placed(order_id="1"))
    return Worker(bus, Orders(), group="billing")

class Told(Worker):
    def __init__(self, name="worker"):
        super().__init__(Bus("kafka://me:secret@localhost:9092?sasl_mechanism=PLAIN"), Orders(), group="billing")
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


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "eventwire", "run", *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("attribute", "ran"),
    [("worker", "worker"), ("factory", "factory"), ("later", "later"), ("Space.worker", "space")],
)
def test_a_worker_or_what_returns_one_is_run(folder: Path, attribute: str, ran: str) -> None:
    done = run(folder, f"app:{attribute}")
    assert (done.returncode, done.stdout) == (0, f"ran {ran}\n")


def test_start_stop_and_end_are_a_line_each(folder: Path) -> None:
    done = run(folder, "app:real")
    started, logged, stopped, ended = done.stderr.splitlines()
    assert done.returncode == 0
    assert started.startswith("eventwire run: group billing on shop.v1 of default=memory:// (process ")
    assert logged.endswith("WARNING eventwire.worker: warning logged")
    assert stopped == "eventwire run: group billing was told to stop: draining"
    assert ended == (
        "eventwire run: group billing ended: "
        "handled 1, duplicates 0, unhandled 0, unknown 0, dead-lettered 0, dropped 0, "
        "postponed 0, retried 0, transient 0"
    )


def test_a_password_is_not_shown(folder: Path) -> None:
    told = run(folder, "app:worker").stderr
    assert "kafka://me:***@localhost:9092" in told
    assert "secret" not in told


@pytest.mark.parametrize(
    ("flags", "levels"),
    [((), {"warning"}), (("-v",), {"info", "warning"}), (("-vv",), {"debug", "info", "warning"})],
)
def test_verbose_shows_more_of_eventwire_s_logs(
    folder: Path, flags: tuple[str, ...], levels: set[str]
) -> None:
    told = run(folder, "app:real", *flags).stderr
    assert {level for level in ("debug", "info", "warning") if f"{level} logged" in told} == levels
    assert "others logged" not in told


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
    assert (done.returncode, done.stderr.splitlines(keepends=True)[-1]) == (1, told)


@pytest.mark.parametrize("target", ["app:buggy", "broken:worker"])
def test_an_error_of_the_user_keeps_its_traceback(folder: Path, target: str) -> None:
    done = run(folder, target)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
