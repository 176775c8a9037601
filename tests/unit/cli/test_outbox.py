import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
APP = """
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session
from eventwire import Bus
from eventwire.outbox import Outbox, Relay, Tables
from tests.unit.shop import ORDERS, Placed

bus = Bus("sqlite:///broker.db", declare=True)
tables = Tables()
outbox = Outbox(bus, ORDERS, tables=tables)
sync_engine = create_engine("sqlite:///app.db")
relay = Relay(bus, create_async_engine("sqlite+aiosqlite:///app.db"), tables=tables, poll_interval=0.01)
number = 3

def record(*keys):
    tables.metadata.create_all(sync_engine)
    with Session(sync_engine) as session, session.begin():
        for key in keys:
            outbox.add(session, Placed(key))

def empty():
    with Session(sync_engine) as session:
        return outbox.lag(session).waiting == 0

async def later():
    return relay
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def command(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "eventwire", "outbox", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(folder: Path, *arguments: str) -> tuple[int, str, str]:
    with command(folder, *arguments) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def app(folder: Path, code: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", f"import app, time\n{code}"], cwd=folder, env=env, check=True)


def test_run_relays_until_sigterm_and_lag_tells_what_waits(folder: Path) -> None:
    app(folder, "app.record('1', '2')")
    code, out, _ = done(folder, "lag", "app:relay")
    assert (
        code,
        out.startswith("waiting 2, the oldest for "),
        out.endswith("; scheduled 0; failing 0\n"),
    ) == (
        0,
        True,
        True,
    )
    assert done(folder, "lag", "app:relay", "--max-age", "0")[0] == 1
    assert done(folder, "lag", "app:relay", "--max-age", "3600")[0] == 0
    with command(folder, "run", "app:later") as process:
        app(folder, "while not app.empty(): time.sleep(0.01)")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert err.startswith(
        "eventwire outbox: from sqlite+aiosqlite:///app.db to default=sqlite:///broker.db (process "
    )
    assert err.endswith(
        "eventwire outbox: told to stop: finishing the batch\n"
        "eventwire outbox: ended: published 2, failed 0\n"
    )
    assert done(folder, "lag", "app:relay")[1] == "waiting 0; scheduled 0; failing 0\n"


def test_lag_shows_what_fails_and_why(folder: Path) -> None:
    app(folder, "app.record('\\N{SNOWMAN}\\n')")
    app(
        folder,
        "from sqlalchemy import update\n"
        "with app.sync_engine.begin() as c:\n"
        "    c.execute(update(app.tables.rows).values(attempts=3, error='TooLarge: 2 MiB', event_id='e-1'))",
    )
    code, out, _ = done(folder, "lag", "app:relay")
    assert code == 0
    assert out.splitlines()[1] == r"row 1: shop.v1, key '\u2603\n', event e-1, 3 attempts: TooLarge: 2 MiB"


@pytest.mark.parametrize("action", ["run", "lag"])
def test_missing_tables_are_an_error_of_one_line(folder: Path, action: str) -> None:
    code, _, err = done(folder, action, "app:relay")
    assert code == 1
    assert err.splitlines()[-1].startswith("eventwire outbox: ")
    assert "outbox" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("app:number", "app:number is no Relay and returns none, but int"),
        ("app:nothing", 'app has no "nothing"'),
        ("nowhere:relay", 'there is no module "nowhere" here or on sys.path'),
        ("app", '"app" is not MODULE:ATTR, for example shop.app:worker'),
    ],
)
def test_what_is_no_relay_is_refused(folder: Path, target: str, text: str) -> None:
    assert done(folder, "run", target) == (2, "", f"eventwire outbox: {text}\n")


def test_without_the_extra_it_is_listed_and_says_what_to_install(folder: Path) -> None:
    (folder / "sqlalchemy.py").write_text("raise ModuleNotFoundError('no', name='sqlalchemy')")
    code, _, err = done(folder, "run", "app:relay")
    assert (code, "pip install 'eventwire[outbox]'" in err) == (1, True)


@pytest.mark.parametrize("arguments", [[], ["dance", "app:relay"], ["run"]])
def test_a_wrong_call_is_refused(folder: Path, arguments: list[str]) -> None:
    code, _, err = done(folder, *arguments)
    assert (code, "usage: eventwire outbox" in err) == (2, True)
