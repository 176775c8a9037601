"""What a worker and a bus that work say of themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import NoReturn

import pytest

from eventwire import BreakerPolicy, Bus, Context, PublishFailed, Receipt, RetryPolicy, Unreachable, Worker
from eventwire.message import Message
from eventwire.transport import TopicSpec
from tests.unit.shop import ORDERS, OrdersPublisher, Placed
from tests.unit.test_worker import Orders, fail


@pytest.fixture
async def bus() -> AsyncGenerator[Bus]:
    async with Bus("memory://") as made:
        yield made


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  health is asked for, it does not tell by itself
            await asyncio.sleep(0.001)


async def test_what_is_in_hand_and_what_waits_is_counted(bus: Bus) -> None:
    class Slow(Orders):
        async def on_placed(self, event: Placed, context: Context) -> None:
            await go.wait()

    go = asyncio.Event()
    async with Worker(bus, Slow(), group="g", concurrency=1) as worker:
        for order in ("1", "2"):
            await OrdersPublisher(bus).publish(Placed(order))
        await until(lambda: worker.health().waiting == 1)
        health = worker.health()
        assert (health.in_flight, health.lag, health.progress) == (1, 2, None)
        go.set()
        await until(lambda: worker.health().lag == 0)
        health = worker.health()
        assert (health.in_flight, health.waiting, health.connected) == (0, 0, True)
        assert health.progress is not None
        assert health.ready


async def test_while_what_handlers_need_is_down_it_is_paused_and_not_ready(bus: Bus) -> None:
    def needs(_: Placed, __: Context) -> None:
        if down:
            raise ConnectionError("database away")

    down = True
    policy = BreakerPolicy(initial_backoff=0.001, max_backoff=0.01)
    async with Worker(bus, Orders(needs), group="g", breaker=policy) as worker:
        await OrdersPublisher(bus).publish(Placed("1"))
        await until(lambda: worker.health().paused is not None)
        health = worker.health()
        assert (health.alive, health.ready, health.paused) == (True, False, "ConnectionError: database away")
        down = False
        await until(lambda: worker.health().ready)
        assert (worker.counts.handled, worker.counts.dead_lettered) == (1, 0)


async def test_while_its_dead_letter_cannot_be_written_it_is_not_ready(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = bus.transport(ORDERS).publish

    async def refusing(topic: TopicSpec, message: Message) -> Receipt:
        if topic.name.endswith(".dead") and refused:
            raise PublishFailed("no leader", message)
        return await publish(topic, message)

    refused = True
    monkeypatch.setattr(bus.transport(ORDERS), "publish", refusing)
    async with Worker(bus, Orders(fail), group="g", retry=RetryPolicy(max_attempts=1)) as worker:
        await OrdersPublisher(bus).publish(Placed("1"))
        await until(lambda: not worker.health().ready)
        health = worker.health()
        assert (health.alive, health.lag) == (True, 1)
        assert "no leader" in health.reasons[0]
        refused = False
        await until(lambda: worker.health().ready)
        assert worker.counts.dead_lettered == 1


async def test_a_bus_says_whether_each_broker_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent() -> NoReturn:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def refused() -> NoReturn:
        raise Unreachable("nobody at a:1")

    async with Bus({"default": "memory://", "silent": "memory://", "gone": "memory://"}) as bus:
        for name, ping in (("silent", silent), ("gone", refused)):
            monkeypatch.setattr(bus.transport(replace(ORDERS, broker=name)), "ping", ping)
        found = {each.name: (each.connected, each.error) for each in await bus.health(within=0.01)}
    assert found == {
        "default": (True, None),
        "silent": (False, "no answer within 0.01 s"),
        "gone": (False, "nobody at a:1"),
    }
