"""Processes that die over an event, for real: Kafka's commit metadata counts them, for that event alone."""

import asyncio
import secrets
import signal
import sys
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from eventwire.message import Message, Receipt
from eventwire.transport import DriverOptions, Subscription, TopicSpec
from eventwire.transports.kafka import KafkaTransport
from eventwire.transports.kafka.notes import Note, read_note
from eventwire.url import BrokerUrl
from tests.integration.kafka_member import MAX_UNCOMMITTED
from tools import servers

pytestmark = pytest.mark.server

_MEMBER = Path(__file__).with_name("kafka_member.py")
_PATIENCE = 60.0
_OPTIONS = "?session_timeout_ms=2000&heartbeat_interval_ms=400"
_COUNT = 120


@pytest.fixture
async def transport(kafka_server: servers.Server) -> AsyncGenerator[KafkaTransport]:
    made = KafkaTransport(BrokerUrl.parse(kafka_server.url + _OPTIONS), DriverOptions())
    yield made
    await made.close()


class Deaths:
    """A topic of numbers, processes that read it one after the other, and what they wrote down."""

    def __init__(self, url: str, journal: Path, partitions: int = 1) -> None:
        self.url = url
        self.spec = TopicSpec(f"test.{secrets.token_hex(4)}", partitions)
        self._journal = journal
        self._processes: list[Process] = []

    async def end(self) -> None:
        """Leave no process behind."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def publish(self, transport: KafkaTransport, count: int = _COUNT, *, first: int = 0) -> None:
        await transport.declare([self.spec], ())
        messages = [
            Message(self.spec.name, b"%d" % number, b"%d" % number, id=str(number))
            for number in range(first, first + count)
        ]
        for outcome in await transport.publish_many(self.spec, messages):
            assert isinstance(outcome, Receipt), outcome

    async def begin(self, poison: tuple[int, ...] = (), attempts: int = 2) -> Process:
        arguments = [self.url, self.spec.name, str(self.spec.partitions), str(self._journal)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(_MEMBER), *arguments, ",".join(map(str, poison)), str(attempts)
        )
        self._processes.append(process)
        return process

    def lines(self) -> list[tuple[int, int, str]]:
        """Number, deaths told, outcome."""
        text = self._journal.read_text() if self._journal.exists() else ""
        return [
            (int(number), int(deaths), outcome)
            for number, deaths, outcome in (line.split() for line in text.splitlines())
        ]

    def settled(self) -> set[int]:
        return {number for number, _, outcome in self.lines() if outcome != "killed"}

    async def note(self) -> Note | None:
        """What is noted of partition 0."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.url.partition("?")[0].removeprefix("kafka://"))
        await admin.start()
        try:
            found = await admin.list_consumer_group_offsets(self.spec.name)
        finally:
            await admin.close()
        return next((read_note(at.metadata) for at in found.values()), None)


@pytest.fixture
async def deaths(kafka_server: servers.Server, tmp_path: Path) -> AsyncGenerator[Deaths]:
    made = Deaths(kafka_server.url + _OPTIONS, tmp_path / "journal")
    yield made
    await made.end()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE):
        while not true():  # noqa: ASYNC110 - other processes decide when
            await asyncio.sleep(0.02)


async def end(process: Process, number: signal.Signals) -> int:
    process.send_signal(number)
    async with asyncio.timeout(_PATIENCE):
        return await process.wait()


async def test_killers_are_charged_each_time_and_their_neighbours_never(
    deaths: Deaths, transport: KafkaTransport
) -> None:
    poison = (57, 60)
    await deaths.publish(transport)
    killed = 0
    process = await deaths.begin(poison)
    while len(deaths.settled()) < _COUNT:
        ending = asyncio.create_task(process.wait())
        await until(lambda: ending.done() or len(deaths.settled()) == _COUNT)  # noqa: B023 - awaited within
        if ending.done():
            assert ending.result() == -signal.SIGKILL
            killed += 1
            process = await deaths.begin(poison)
    assert await end(process, signal.SIGTERM) == 0
    told = Counter((number, count) for number, count, _ in deaths.lines() if count)
    assert told == {(number, count): 1 for number in poison for count in (1, 2)}, "nobody else is charged"
    assert {number for number, _, outcome in deaths.lines() if outcome == "dropped"} == set(poison)
    assert killed >= 1 + 2 + 2, "the first death accuses nobody; then each kills twice, alone"
    assert await deaths.note() == await clean(deaths)


async def clean(deaths: Deaths) -> Note:
    note = await deaths.note()
    assert note is not None
    return Note(clean=True, by=note.by)


async def test_a_worker_that_is_stopped_in_order_has_not_died(
    deaths: Deaths, transport: KafkaTransport
) -> None:
    for turn in range(3):
        before = len(deaths.lines())
        await deaths.publish(transport, first=turn * _COUNT)
        process = await deaths.begin()
        await until(lambda: len(deaths.lines()) > before)  # noqa: B023 - awaited within
        assert await end(process, signal.SIGTERM) == 0
        assert await deaths.note() == await clean(deaths)
    assert not [line for line in deaths.lines() if line[1]]


async def test_an_idle_worker_that_is_killed_accuses_nobody(
    deaths: Deaths, transport: KafkaTransport
) -> None:
    await deaths.publish(transport, 30)
    process = await deaths.begin()
    await until(lambda: len(deaths.settled()) == 30)
    async with asyncio.timeout(_PATIENCE):
        while await transport.lag(deaths.spec, deaths.spec.name):  # noqa: ASYNC110 - another process commits
            await asyncio.sleep(0.05)
    await end(process, signal.SIGKILL)
    consumer = await transport.subscribe(Subscription(deaths.spec.name, (deaths.spec,)))
    fetching = asyncio.create_task(consumer.fetch(1))
    await until(lambda: consumer.health().lag == 0)
    assert consumer.health().suspect == ()
    fetching.cancel()
    await consumer.close()


async def test_a_death_is_known_before_the_first_commit_and_ends_with_its_window(
    deaths: Deaths, transport: KafkaTransport
) -> None:
    await deaths.publish(transport, 50)
    process = await deaths.begin((0,), attempts=1)
    async with asyncio.timeout(_PATIENCE):
        assert await process.wait() == -signal.SIGKILL
    consumer = await transport.subscribe(
        Subscription(deaths.spec.name, (deaths.spec,), max_uncommitted=MAX_UNCOMMITTED)
    )
    sizes: list[int] = []
    async with asyncio.timeout(_PATIENCE):
        while sum(sizes) < 50:
            deliveries = await consumer.fetch(100)
            assert [delivery.deaths for delivery in deliveries] == [0] * len(deliveries)
            sizes.append(len(deliveries))
            for delivery in deliveries:
                delivery.ack()
    assert sizes[:MAX_UNCOMMITTED] == [1] * MAX_UNCOMMITTED
    assert max(sizes[MAX_UNCOMMITTED:]) > 1
    assert consumer.health().suspect == ()
    await consumer.close()


async def test_rebalances_of_live_members_accuse_nobody(deaths: Deaths, transport: KafkaTransport) -> None:
    spec = TopicSpec(f"test.{secrets.token_hex(4)}", 4)
    deaths.spec = spec
    await deaths.publish(transport)
    handled: set[int] = set()

    async def work() -> None:
        consumer = await transport.subscribe(Subscription(spec.name, (spec,), commit_interval=0.05))
        try:
            while True:
                for delivery in await consumer.fetch(20):
                    assert delivery.deaths == 0
                    await asyncio.sleep(0.001)
                    assert consumer.health().suspect == ()
                    handled.add(int(delivery.message.body or b""))
                    delivery.ack()
        finally:
            await consumer.close()

    for _ in range(3):
        working = [asyncio.create_task(work()) for _ in range(3)]
        before = len(handled)
        await until(lambda: len(handled) >= min(_COUNT, before + 30) or any(task.done() for task in working))  # noqa: B023 - awaited within
        for task in working:
            task.cancel()
        outcomes = await asyncio.gather(*working, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 3
