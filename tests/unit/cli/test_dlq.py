from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eventwire import Bus
from eventwire.cli import dlq, main
from eventwire.cli.targets import worker_of
from eventwire.dead_letters import DeadLetters
from eventwire.links import make_transport
from eventwire.message import Message
from eventwire.middleware.dead_letter import POINTER
from eventwire.transport import DriverOptions, Transport
from shop.orders.v1.orders_eventwire import ORDERS
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.unit.dead_letters.support import DEAD, RETRY, SOURCE, letter, put, taken


class Broker:
    """A file, and the command on it without any code of the topic's."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"

    def put(self, letters: Sequence[Message]) -> None:
        self.use(lambda transport: put(transport, letters))

    def taken(self, group: str = "g", topic: str = "retry") -> list[Message]:
        spec = {"retry": RETRY, "dead": DEAD, "source": SOURCE}[topic]
        return list(self.use(lambda transport: taken(transport, spec, group)))

    def use(self, call: Callable[[Transport], Awaitable[Any]]) -> Any:
        async def used() -> Any:
            transport = make_transport(self.url, DriverOptions())
            await transport.connect()
            try:
                return await call(transport)
            finally:
                await transport.close()

        return asyncio.run(used())

    def run(self, command: str, *more: str) -> int:
        return main(["dlq", *command.split(), "--broker", self.url, "--topic", "t", "--group", "g", *more])


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    made = Broker(tmp_path / "broker.db")
    made.put([letter(number, kind=f"a.v1.{'AB'[number % 2]}", key=f"k{number}") for number in range(6)])
    return made


def test_list_is_a_line_each(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    assert broker.run("list") == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[1] == "2026-01-01T00:00:01Z  id-1  a.v1.B  k1  ValueError x3: no 1"
    assert len(told.out.splitlines()) == 6
    assert told.err == "eventwire dlq: t.g.dead: 6 of 6 dead letters match\n"


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (["--id", "id-1", "--id", "id-4"], [1, 4]),
        (["--type", "a.v1.A"], [0, 2, 4]),
        (["--key", "k5"], [5]),
        (["--error", "ValueError", "--limit", "2"], [0, 1]),
        (["--error", "KeyError"], []),
        (["--since", "2026-01-01T00:00:02Z", "--until", "2026-01-01T00:00:04"], [2, 3]),
        (["--since", "2026-01-01T05:00:04+05:00"], [4, 5]),
    ],
)
def test_filters(
    broker: Broker, flags: list[str], wanted: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert broker.run("list --json", *flags) == 0
    found = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [each["id"] for each in found] == [f"id-{number}" for number in wanted]


def test_show_tells_everything(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    assert broker.run("show id-3") == 0
    assert capsys.readouterr().out.splitlines() == [
        "id        id-3",
        "type      a.v1.B",
        "key       k3",
        "set aside 2026-01-01T00:00:03.000000Z by group g",
        "origin    t:1:3",
        "attempts  3",
        "error     ValueError: no 3",
        "headers",
        "  ce_type: a.v1.B",
        "  tenant: \\xff\\x00",
        "content   application/protobuf, 6 bytes",
        b"body 3".hex(),
    ]
    assert broker.run("show id-3 --json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["attempts"], shown["hex"], shown["headers"][0]) == (
        3,
        b"body 3".hex(),
        ["ce_type", "a.v1.B"],
    )
    assert broker.run("show id-9") == 1
    assert capsys.readouterr().err == "eventwire dlq: no dead letter id-9 of t.g.dead\n"


def test_what_strangers_wrote_does_not_reach_the_terminal(
    broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    broker.put([replace(letter(7, key="\x1b[2J", error="\x07", reason="a\r\nb\x1b]0;x"), id="\x1b[31m")])
    for command in ("list", "show \x1b[31m", "replay"):
        broker.run(command)
        told = capsys.readouterr()
        assert "\x1b" not in told.out + told.err
        assert "\r" not in told.out


def test_replay_and_its_summary(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    assert broker.run("replay --dry-run --type a.v1.B") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert broker.run("replay --type a.v1.B") == 0
    assert capsys.readouterr().out == (
        "t.g.dead: replayed 3 of 6 to t.g.retry, 3 stay, 3 of them moved to the tail\n"
    )
    assert [each.id for each in broker.taken()] == ["id-1", "id-3", "id-5"]
    assert broker.run("replay --to-source --partitions 2 --json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["place"], summary["ended"], summary["done"]) == ("t.g.dead", True, 3)
    assert {each.id for each in broker.taken("another", "source")} == {"id-0", "id-2", "id-4"}


def test_a_pointer_is_refused_with_its_origin(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    broker.put([replace(letter(8), body=b"{}", content_type=POINTER)])
    assert broker.run("list --id id-8") == 0
    assert capsys.readouterr().out.endswith("no 8 -> t:1:8\n")
    assert broker.run("replay") == 1
    told = capsys.readouterr()
    assert "refused id-8: its body was too large to be set aside: it is at t:1:8" in told.err
    assert "replayed 6 of 7" in told.out


def test_purge_asks(
    broker: Broker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert broker.run("purge") == 2
    assert broker.run("purge --all") == 2
    assert [text.partition(": ")[2] for text in capsys.readouterr().err.splitlines()] == [
        "purge needs a filter, or --all",
        "purge asks first, and this is no terminal: give --yes",
    ]
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return {1: "n", 2: " Y "}[len(asked)]

    monkeypatch.setattr("builtins.input", answer)
    assert broker.run("purge --id id-1") == 1
    assert broker.run("purge --id id-1") == 0
    assert asked == ["purge 1 of 6 dead letters of t.g.dead? [y/N] "] * 2
    assert capsys.readouterr().out == "t.g.dead: purged 1 of 6, 5 stay, 5 of them moved to the tail\n"
    assert broker.run("purge --all --yes") == 0
    assert broker.taken("g.dead", "dead") == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["list"], "name a worker"),
        (["list", "--broker", "sqlite:///x.db", "--topic", "t"], "name a worker"),
        (["list", "app:worker", "--group", "g"], "a worker knows its group: leave --group out"),
        (["list", "nowhere:worker"], 'there is no module "nowhere"'),
        (["list", "--broker", "nope://x", "--topic", "t", "--group", "g"], "no transport for `nope://`"),
    ],
)
def test_calls_that_name_nothing(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dlq", *arguments]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--since", "yesterday"],
        ["list", "--limit", "0"],
        ["replay", "--rate", "0"],
        ["replay", "--rate", "x"],
        [],
    ],
)
def test_wrong_flags(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dlq", *arguments]) == 2
    assert "usage: eventwire dlq" in capsys.readouterr().err


def test_what_was_never_declared_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Broker(tmp_path / "empty.db").run("list") == 1
    assert "TopicMissing" in capsys.readouterr().err


def test_progress_is_told_while_it_works(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dlq, "_TELL", 0.01)
    assert broker.run("replay --rate 8") == 0
    assert "eventwire dlq: replayed" in capsys.readouterr().err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_end_in_the_middle_leaves_everything_consistent(broker: Broker, how: signal.Signals) -> None:
    broker.url += "?lease=0.3&poll=0.01"
    broker.put([letter(number) for number in range(10, 2000)])
    # A shell's background job ignores SIGINT, and so does what it starts: here it shall not.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from eventwire.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "dlq", "replay", "--rate", "100"]
    process = subprocess.Popen(
        [*command, "--broker", broker.url, "--topic", "t", "--group", "g"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until_some(broker)
    process.send_signal(how)
    out, err = process.communicate(timeout=30)
    assert process.returncode == (-how if how is signal.SIGKILL else 130)
    assert ("stopped: replayed" in out) == (how is not signal.SIGKILL)
    assert "Traceback" not in err
    replayed = {each.id for each in broker.taken()}
    left = {each.id for each in broker.taken("g.dead", "dead")}
    assert len(replayed | left) == 6 + 1990
    assert len(replayed & left) <= 25  # what was on its way: a quarter of a second's
    assert replayed
    assert left


def until_some(broker: Broker) -> None:
    deadline = time.monotonic() + 30
    while not broker.use(lambda transport: transport.lag(RETRY, "g")):
        assert time.monotonic() < deadline


APP = """
from shop.orders.v1.orders_eventwire import OrdersHandler
from eventwire import Bus, Worker

class Billing(OrdersHandler):
    async def on_order_placed(self, event, context):
        raise ValueError(f"no money for {event.order_id}")

def worker():
    return Worker(Bus("sqlite:///shop.db", declare=True), Billing(), group="billing", retry=RetryPolicy(max_attempts=1))

from eventwire import RetryPolicy
"""


async def fail_one() -> None:
    """A worker of the app's sets an order aside."""
    async with Bus("sqlite:///shop.db", declare=True) as bus:
        order = OrderPlaced(order_id="42", total_cents=1999, email="ada@example.com")
        await bus.declare(ORDERS, groups=["billing"])
        await bus.send(ORDERS, order, id="o-42")
        running = await worker_of("dlq_app:worker")
        async with running.bus, running:
            letters = DeadLetters(bus, ORDERS, "billing")
            for _ in range(1000):
                if await letters.count():
                    break
                await asyncio.sleep(0.01)


def test_of_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "dlq_app.py").write_text(APP)
    asyncio.run(fail_one())
    assert main(["dlq", "list", "dlq_app:worker"]) == 0
    assert "  o-42  shop.orders.v1.OrderPlaced  42  ValueError x1: no money for 42" in capsys.readouterr().out
    assert main(["dlq", "show", "o-42", "dlq_app:worker"]) == 0
    shown = capsys.readouterr().out
    assert '"totalCents": "1999",\n  "email": "***"' in shown
    assert "ada@" not in shown
    assert main(["dlq", "show", "o-42", "dlq_app:worker", "--raw", "--json"]) == 0
    assert b"ada@".hex() in capsys.readouterr().out
    assert main(["dlq", "list", "dlq_app:worker", "--topic", "nope"]) == 2
    assert "it reads shop.orders.v1" in capsys.readouterr().err
    assert main(["dlq", "replay", "dlq_app:worker"]) == 0
    assert capsys.readouterr().out == (
        "shop.orders.v1.billing.dead: replayed 1 of 1 to shop.orders.v1.billing.retry, 0 stay\n"
    )
