# pyright: reportPrivateUsage=false
# The rule is about what the file says at each step, so the test takes each step of a member by itself.
"""What a dead process proves against what it had in hand: played on the real file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from eventwire.message import Message
from eventwire.transport import Delivery, DriverOptions, Subscription, TopicPartition, TopicSpec
from eventwire.transports.sqlite import SqliteTransport
from eventwire.transports.sqlite.consumer import SqliteConsumer
from eventwire.url import BrokerUrl

SPEC = TopicSpec("t", partitions=3)
COUNT = 5
"""Messages of each partition."""


@dataclass(eq=False)
class Process:
    """A member with a connection of its own, and what it has in hand."""

    transport: SqliteTransport
    consumer: SqliteConsumer
    hand: list[Delivery] = field(default_factory=list[Delivery])

    async def take(self, limit: int) -> list[Delivery]:
        """Fetch what can be had without waiting."""
        taken: list[Delivery] = [*await self.consumer._take(limit)]
        self.hand += taken
        return taken

    async def settle(self, index: int, *, ack: bool, flush: bool = True) -> None:
        """Ack or release one, and let it reach the file."""
        delivery = self.hand.pop(index % len(self.hand))
        (delivery.ack if ack else delivery.release)()
        if flush:
            await self.consumer.flush()

    @property
    def suspects(self) -> tuple[TopicPartition, ...]:
        return self.consumer.health().suspect


class Group:
    """The processes of one group on one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.processes: list[Process] = []

    async def start(self) -> Process:
        """One more process; the others give up what is its share."""
        transport = await opened(self.path)
        consumer = await transport.subscribe(
            Subscription("g", (SPEC,), commit_interval=60, max_uncommitted=4)
        )
        assert consumer._alive is not None
        consumer._alive.cancel()  # heartbeats come when the test says so
        self.processes.append(Process(transport, consumer))
        await self.settle_down()
        return self.processes[-1]

    async def kill(self, process: Process) -> None:
        """It is gone without a word, and its lease expires."""
        self.processes.remove(process)
        self.sql("UPDATE members SET expires = 0 WHERE id = ?", process.consumer._member.id)
        process.consumer._closed = True
        await process.transport.close()
        if not self.processes:
            await self.start()
        await self.settle_down()

    async def stop(self, process: Process) -> None:
        """It leaves as it should."""
        self.processes.remove(process)
        await process.transport.close()
        await self.settle_down()

    async def settle_down(self) -> None:
        """Heartbeats until every partition is where it belongs; who loses one has it in hand no more."""
        for process in self.processes * 3:
            await process.consumer._beat()
            if (handing_over := process.consumer._revocation) is not None:
                process.consumer._received.set()
                await handing_over
        for process in self.processes:
            await process.consumer.flush()
            held = {at.partition for at in process.consumer._leases}
            process.hand = [each for each in process.hand if each.partition in held]

    def deaths(self) -> Counter[tuple[int, int]]:
        """The file's charges, by partition and offset."""
        rows = self.sql(
            "SELECT p.number, d.offset, d.count FROM deaths d JOIN partitions p ON p.id = d.partition"
        )
        return Counter({(number, offset): count for number, offset, count in rows})

    def sql(self, statement: str, *values: object) -> list[tuple[int, int, int]]:
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            return connection.execute(statement, values).fetchall()
        finally:
            connection.close()


async def opened(path: Path) -> SqliteTransport:
    transport = SqliteTransport(BrokerUrl.parse(f"sqlite:///{path}?lease=60"), DriverOptions())
    await transport.connect()
    await transport.declare([SPEC], [])
    return transport


@asynccontextmanager
async def group() -> AsyncGenerator[Group]:
    """A new file with messages in every partition."""
    with TemporaryDirectory() as folder:
        made = Group(Path(folder) / "broker.db")
        publisher = await opened(made.path)
        for number in range(COUNT * 3):
            await publisher.publish(SPEC, Message("t", b"", None, (), None, f"id-{number}"))
        await publisher.close()
        try:
            yield made
        finally:
            await asyncio.gather(*(process.transport.close() for process in made.processes))


STEPS = st.tuples(
    st.sampled_from(
        ["take", "take", "take", "take", "ack", "ack", "release", "kill", "kill", "start", "stop"]
    ),
    st.integers(0, 9),
    st.integers(1, 4),
)


async def play(steps: list[tuple[str, int, int]]) -> None:
    charged: Counter[tuple[int, int]] = Counter()
    async with group() as made:
        await made.start()
        for step, which, limit in steps:
            process = made.processes[which % len(made.processes)]
            if step == "start" and len(made.processes) < 3:
                await made.start()
            elif step == "take":
                await process.take(limit)
            elif step in {"ack", "release"} and process.hand:
                await process.settle(which, ack=step == "ack")
            elif step == "stop" and len(made.processes) > 1:
                await made.stop(process)
            elif step == "kill":
                suspects = {at.partition for at in process.suspects}
                if len(process.hand) == 1 and (alone := process.hand[0]).partition in suspects:
                    charged[alone.partition, alone.offset or 0] += 1
                await made.kill(process)
            check(made, charged)


def check(made: Group, charged: Counter[tuple[int, int]]) -> None:
    """The file says what the model says, of all that is not settled."""
    committed = {
        n: c
        for n, c, _ in made.sql(
            "SELECT p.number, o.committed, 0 FROM positions o JOIN partitions p ON p.id = o.partition"
        )
    }
    assert made.deaths() == {at: count for at, count in charged.items() if at[1] >= committed[at[0]]}


@settings(max_examples=100, deadline=None)
@given(st.lists(STEPS, min_size=20, max_size=40))
def test_only_who_was_alone_is_charged_and_always(steps: list[tuple[str, int, int]]) -> None:
    asyncio.run(play(steps))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2), st.integers(0, COUNT - 1), st.integers(), st.integers(1, 3))
def test_a_killer_is_found_though_others_are_at_work(
    partition: int, offset: int, seed: int, members: int
) -> None:
    asyncio.run(hunt((partition, offset), Random(seed), members))  # noqa: S311 a test's choices


async def hunt(killer: tuple[int, int], chance: Random, members: int) -> None:
    """Whoever gets the killer dies, five times; from the third on each death is charged to it, and to it alone."""
    async with group() as made:
        for _ in range(members):
            await made.start()
        kills = turn = 0
        while kills < 5:
            turn += 1
            assert turn < 500, "the killer is not handed out any more"
            process = chance.choice(made.processes)
            taken = await process.take(chance.randint(1, 4))
            if any((each.partition, each.offset) == killer for each in taken):
                await made.kill(process)
                kills += 1
                if len(made.processes) < members:
                    await made.start()
            elif process.hand:
                await process.settle(
                    chance.randrange(9), ack=chance.random() < 0.8, flush=chance.random() < 0.3
                )
        assert set(made.deaths()) == {killer}
        assert made.deaths()[killer] >= kills - 2


async def test_what_was_acked_is_not_charged_for_what_was_handed_out_after_it() -> None:
    """Its ack is not in the file yet, and it was the last suspect: the next hand-out still has to say so."""
    async with group() as made:
        first = await made.start()
        [suspect] = await first.take(1)
        await made.kill(first)
        [second] = made.processes
        while (await second.take(1))[0].partition != suspect.partition:
            await second.settle(0, ack=True)
        await second.settle(0, ack=True, flush=False)
        assert not second.suspects
        await second.take(2)
        await made.kill(second)
        assert made.deaths() == Counter()
