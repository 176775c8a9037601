"""Processes that are killed while they handle messages from RabbitMQ: who is charged."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from eventwire.message import Message
from eventwire.transport import DriverOptions, Subscription, TopicSpec
from eventwire.transports.amqp import AmqpTransport
from eventwire.url import BrokerUrl
from tools.servers import Server

pytestmark = pytest.mark.server

MEMBER = Path(__file__).with_name("amqp_member.py")
MOST_DEATHS = 3


@pytest.fixture
async def transport(amqp_server: Server) -> AsyncIterator[AmqpTransport]:
    transport = AmqpTransport(BrokerUrl.parse(amqp_server.url), DriverOptions())
    yield transport
    await transport.close()


class Members:
    """Member processes and what they wrote."""

    def __init__(self, server: Server, spec: TopicSpec, journal: Path) -> None:
        self._server = server
        self._spec = spec
        self._journal = journal
        self._started: list[Process] = []

    async def start(self, seconds: float = 0.0, poison: str = "-") -> Process:
        spec = self._spec
        arguments = (spec.name, spec.partitions, spec.ordered, self._journal, seconds, poison)
        member = await asyncio.create_subprocess_exec(
            sys.executable, str(MEMBER), self._server.url, *map(str, arguments)
        )
        self._started.append(member)
        return member

    def seen(self) -> list[tuple[str, int]]:
        """Message ids with their deaths, as they were handed out."""
        text = self._journal.read_text() if self._journal.exists() else ""
        return [(line.split()[0], int(line.split()[1])) for line in text.splitlines()]

    def deaths(self, identity: str) -> list[int]:
        return [deaths for known, deaths in self.seen() if known == identity]

    async def end(self) -> None:
        for member in self._started:
            with suppress(ProcessLookupError):
                member.kill()
            await member.wait()


@pytest.fixture(params=["ordered", "unordered"])
async def spec(request: pytest.FixtureRequest, tmp_path: Path) -> TopicSpec:
    return TopicSpec(f"deaths.{tmp_path.name}.{time.time_ns()}", ordered=request.param == "ordered")


@pytest.fixture
async def members(
    amqp_server: Server, transport: AmqpTransport, spec: TopicSpec, tmp_path: Path
) -> AsyncIterator[Members]:
    await transport.declare([spec], ["g"])
    members = Members(amqp_server, spec, tmp_path / "journal")
    yield members
    await members.end()


async def publish(transport: AmqpTransport, spec: TopicSpec, count: int) -> set[str]:
    messages = [Message(spec.name, b"body", b"k%d" % (n % 7), id=f"m{n}") for n in range(count)]
    await transport.publish_many(spec, messages)
    return {message.id for message in messages}


async def until(true: Callable[[], bool], within: float = 30) -> None:
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110 - another process tells nobody
            await asyncio.sleep(0.01)


def _more(members: Members, than: int) -> bool:
    return len(members.seen()) > than


async def test_a_poison_is_charged_with_each_death_and_its_neighbours_with_none(
    transport: AmqpTransport, spec: TopicSpec, members: Members
) -> None:
    sent = await publish(transport, spec, 40)
    for _ in range(2 + MOST_DEATHS - 1):
        await asyncio.wait_for((await members.start(poison="m20")).wait(), 30)
    assert members.deaths("m20") == [0, 0, 1, 2]
    await members.start(poison="m20")
    await until(lambda: {known for known, _ in members.seen()} == sent and members.deaths("m20")[-1] == 3)
    assert [each for each in members.seen() if each[1] and each[0] != "m20"] == []
    assert set(Counter(known for known, _ in members.seen()).values()) <= {1, 2, 3, 4, 5}


async def test_random_kills_bring_nobody_near_the_end(
    transport: AmqpTransport, spec: TopicSpec, members: Members
) -> None:
    sent = await publish(transport, spec, 3000)
    chance = random.Random(20)  # noqa: S311 - no secret
    for _ in range(20):
        before = len(members.seen())
        member = await members.start(seconds=0.002)
        await until(partial(_more, members, before))
        await asyncio.sleep(chance.uniform(0, 0.3))
        member.kill()
        await member.wait()
    await members.start()
    await until(lambda: {known for known, _ in members.seen()} == sent)
    assert max(deaths for _, deaths in members.seen()) < MOST_DEATHS
    assert sum(1 for _, deaths in members.seen() if deaths) <= 20


async def test_who_ends_as_it_should_makes_nobody_a_suspect(
    transport: AmqpTransport, spec: TopicSpec, members: Members
) -> None:
    sent = await publish(transport, spec, 40)
    first = await transport.subscribe(Subscription("g", (spec,)))
    for delivery in list(await first.fetch(20))[:5]:
        delivery.ack()
    await first.close()
    second = await transport.subscribe(Subscription("g", (spec,)))
    got: set[str] = set()
    async with asyncio.timeout(10):
        while len(got) < 35:  # without any ack: nothing is handed out one by one
            got |= {delivery.message.id for delivery in await second.fetch(100)}
    assert len(sent - got) == 5
    assert not second.health().suspect
