"""The Redis inbox on a real Redis, which tests kill and suspend where it is ours."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from eventwire import Bus, ConfigurationError, Context, InboxBusy, InboxUnavailable, Worker
from eventwire.inbox import InboxKey
from eventwire.inbox import redis as redis_inbox
from eventwire.inbox.redis import RedisInbox
from tests.unit.fakes import FakeDelivery
from tests.unit.shop import ORDERS, OrdersHandler, OrdersPublisher, OrdersSyncHandler, Placed
from tools import servers

pytestmark = pytest.mark.server

_PATIENCE = 20.0
KEY = InboxKey("billing", "shop.v1", b"/shop/v1", "shop.v1.Placed", b"a")


@pytest.fixture
async def client(redis_server: servers.Server) -> AsyncGenerator[Redis]:
    host, _, port = redis_server.url.removeprefix("redis://").removesuffix("/0").partition(":")
    async with Redis(host=host, port=int(port)) as client:
        yield client


@pytest.fixture
def prefix() -> str:
    return f"test:{secrets.token_hex(4)}:"


@pytest.fixture
def mortal(redis_server: servers.Server) -> servers.Server:
    """The server where it is ours to kill."""
    if not redis_server.controllable:
        pytest.skip(f"NOT RUN: {redis_server.origin} is not ours to kill")
    return redis_server


class Waiting:
    """Waits for real; the worker that it belongs to is never stopped."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait(self, awaited: Awaitable[object]) -> None:
        await awaited


def context() -> Context:
    return Context(Bus("memory://"), ORDERS, "billing", FakeDelivery(), Waiting())


class Billing(OrdersHandler):
    def __init__(self, handle: Callable[[Placed], Awaitable[None]] | None = None) -> None:
        self._handle = handle
        self.charged: list[str] = []

    async def on_placed(self, event: Placed, context: Context) -> None:
        if self._handle is not None:
            await self._handle(event)
        self.charged.append(event.order_id)


class SyncBilling(OrdersSyncHandler):
    def __init__(self) -> None:
        self.charged: list[str] = []

    def on_placed(self, event: Placed, context: Context) -> None:
        self.charged.append(event.order_id)


async def settled(worker: Worker, count: int) -> None:
    async with asyncio.timeout(_PATIENCE):
        while worker.counts.settled < count:  # noqa: ASYNC110  the counts are plain numbers
            await asyncio.sleep(0.001)


@asynccontextmanager
async def working(
    handler: OrdersHandler | OrdersSyncHandler, inbox: RedisInbox
) -> AsyncGenerator[tuple[OrdersPublisher, Worker]]:
    async with Bus("memory://") as bus, Worker(bus, handler, group="billing", inbox=inbox) as worker:
        yield OrdersPublisher(bus), worker


async def publish(orders: OrdersPublisher, *ids: str) -> None:
    for number, id in enumerate(ids):
        await orders.publish(Placed(f"{id}{number}"), id=id)


# Once


@pytest.mark.parametrize("billing", [Billing(), SyncBilling()], ids=["async", "sync"])
async def test_a_second_delivery_is_skipped(
    redis_server: servers.Server, prefix: str, billing: Billing | SyncBilling
) -> None:
    async with working(billing, RedisInbox(redis_server.url, prefix=prefix)) as (orders, worker):
        await publish(orders, "a", "b", "a", "b", "a")
        await settled(worker, 5)
        assert (worker.counts.handled, worker.counts.duplicates) == (2, 3)
    assert sorted(order[0] for order in billing.charged) == ["a", "b"]


async def test_what_fails_is_tried_again_at_once(client: Redis, prefix: str) -> None:
    failures = iter([True, True, False])

    async def fail(event: Placed) -> None:
        if next(failures):
            raise ValueError(event.order_id)

    async with working(billing := Billing(fail), RedisInbox(client, prefix=prefix)) as (orders, worker):
        await publish(orders, "a")
        await settled(worker, 1)
        assert (worker.counts.handled, worker.counts.retried) == (1, 2)
    assert billing.charged == ["a0"]
    assert await client.exists("nothing") == 0  # the caller's client stays open


async def test_what_failed_for_good_is_not_remembered(client: Redis, prefix: str) -> None:
    async def fail(event: Placed) -> None:
        raise ValueError(event.order_id)

    async with working(Billing(fail), RedisInbox(client, prefix=prefix)) as (orders, worker):
        await publish(orders, "a")
        await settled(worker, 1)
        assert worker.counts.dead_lettered == 1
    assert await client.exists(prefix + KEY.digest) == 0


async def test_what_was_handled_is_remembered_for_its_retention(client: Redis, prefix: str) -> None:
    assert await RedisInbox(client, prefix=prefix, retention=100).once(KEY, context(), nothing)
    name = prefix + KEY.digest
    assert await client.get(name) == b"done"
    assert 90_000 < await client.pttl(name) <= 100_000


async def nothing() -> None:
    """Handled."""


async def never() -> None:
    raise AssertionError("handled twice")


# Two at once


async def test_a_second_delivery_waits_and_is_skipped(client: Redis, prefix: str) -> None:
    at, go = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        at.set()
        await go.wait()

    one, two = RedisInbox(client, prefix=prefix), RedisInbox(client, prefix=prefix)
    holder = asyncio.create_task(one.once(KEY, context(), first))
    await at.wait()
    waiting = asyncio.create_task(two.once(KEY, context(), never))
    with pytest.raises(InboxBusy, match="another delivery"):
        await RedisInbox(client, prefix=prefix, patience=0.1).once(KEY, context(), never)
    go.set()
    assert (await holder, await waiting) == (True, False)


async def test_a_long_handler_keeps_its_lease(client: Redis, prefix: str) -> None:
    at, go = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        at.set()
        await go.wait()

    holder = asyncio.create_task(RedisInbox(client, prefix=prefix, lease=0.3).once(KEY, context(), first))
    await at.wait()
    other = RedisInbox(client, prefix=prefix, patience=1.2)  # four leases
    with pytest.raises(InboxBusy):
        await other.once(KEY, context(), never)
    go.set()
    assert await holder


async def test_the_lease_of_a_process_that_died_runs_out(client: Redis, prefix: str) -> None:
    await client.set(prefix + KEY.digest, "held:somebody", px=200)
    assert await RedisInbox(client, prefix=prefix).once(KEY, context(), nothing)


async def test_who_lost_its_lease_is_cancelled_and_marks_nothing(client: Redis, prefix: str) -> None:
    at, name = asyncio.Event(), prefix + KEY.digest

    async def first() -> None:
        at.set()
        await asyncio.Event().wait()

    holder = asyncio.create_task(RedisInbox(client, prefix=prefix, lease=0.3).once(KEY, context(), first))
    await at.wait()
    await client.set(name, "held:another", px=60_000)
    with pytest.raises(InboxUnavailable, match="lease"):
        await holder
    assert await client.get(name) == b"held:another"


async def test_a_handler_that_outlived_its_lease_does_not_take_anothers(client: Redis, prefix: str) -> None:
    name = prefix + KEY.digest

    async def lose_it() -> None:
        await client.set(name, "held:another", px=60_000)

    with pytest.raises(InboxUnavailable, match="took longer than its lease"):
        await RedisInbox(client, prefix=prefix).once(KEY, context(), lose_it)
    assert await client.get(name) == b"held:another"


async def test_a_timeout_of_the_handlers_own_is_the_handlers(client: Redis, prefix: str) -> None:
    async def slow() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await RedisInbox(client, prefix=prefix).once(KEY, context(), slow)


async def test_a_cancelled_handler_gives_its_lease_back(client: Redis, prefix: str) -> None:
    at = asyncio.Event()

    async def first() -> None:
        at.set()
        await asyncio.Event().wait()

    holder = asyncio.create_task(RedisInbox(client, prefix=prefix).once(KEY, context(), first))
    await at.wait()
    holder.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holder
    assert await client.exists(prefix + KEY.digest) == 0


@pytest.mark.parametrize("fails", [False, True])
async def test_a_thread_that_outlives_its_timeout_keeps_its_lease(
    client: Redis, prefix: str, fails: bool
) -> None:
    go, calls = threading.Event(), 0

    class Mailing(OrdersSyncHandler):
        def on_placed(self, event: Placed, context: Context) -> None:
            nonlocal calls
            calls += 1
            assert go.wait(_PATIENCE)
            if fails and calls == 1:
                raise ValueError("after its timeout")

    inbox = RedisInbox(client, prefix=prefix, lease=0.3)
    async with (
        Bus("memory://") as bus,
        Worker(bus, Mailing(), group="mailing", inbox=inbox, timeout=0.2) as worker,
    ):
        await OrdersPublisher(bus).publish(Placed("1"))
        async with asyncio.timeout(_PATIENCE):
            while worker.counts.transient < 3:  # noqa: ASYNC110  plain numbers; each waited for the thread
                await asyncio.sleep(0.01)
        assert (calls, worker.counts.retried) == (1, 1)
        go.set()
        await settled(worker, 1)
        assert (worker.counts.handled, worker.counts.duplicates) == ((1, 0) if fails else (0, 1))
    assert calls == 1 + fails


# Redis out of reach


async def test_without_redis_nothing_is_let_through(mortal: servers.Server, prefix: str) -> None:
    inbox = RedisInbox(mortal.url, prefix=prefix)
    assert await inbox.once(KEY, context(), nothing)
    await asyncio.to_thread(mortal.kill)
    try:
        with pytest.raises(InboxUnavailable, match="Redis: "):
            await inbox.once(KEY, context(), never)
        with pytest.raises(InboxUnavailable, match="Redis: "):
            async with RedisInbox(mortal.url).lifespan():
                pass
    finally:
        await asyncio.to_thread(mortal.start)
    async with inbox.lifespan():
        assert not await inbox.once(KEY, context(), never)  # it was written before it was answered


async def test_a_redis_that_stands_still_is_not_waited_for(
    mortal: servers.Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_inbox, "_ANSWER", 0.3)
    inbox = RedisInbox(mortal.url, prefix=prefix)
    async with inbox.lifespan():
        await asyncio.to_thread(mortal.suspend)
        try:
            with pytest.raises(InboxUnavailable, match="Timeout"):
                await inbox.once(KEY, context(), never)
        finally:
            await asyncio.to_thread(mortal.resume)
        assert await inbox.once(KEY, context(), nothing)


async def test_a_handler_is_cancelled_when_its_lease_cannot_be_renewed(
    mortal: servers.Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_inbox, "_ANSWER", 0.1)

    async def hang() -> None:
        await asyncio.to_thread(mortal.suspend)
        await asyncio.Event().wait()

    inbox = RedisInbox(mortal.url, prefix=prefix, lease=0.5)
    try:
        with pytest.raises(InboxUnavailable, match="could not be renewed"):
            await inbox.once(KEY, context(), hang)
    finally:
        await asyncio.to_thread(mortal.resume)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="retention is no shorter"):
        RedisInbox("redis://localhost", lease=30, retention=10)
    with pytest.raises(ConfigurationError, match=r"0\.01 seconds"):
        RedisInbox("redis://localhost", lease=0)
