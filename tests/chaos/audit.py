"""Commits under watch: what a log broker has as committed, was handled before.

A handler notes each event before its acknowledgement. So whatever is committed at one moment stands in a journal that
is read after it: a position above an offset that does not is a commit past a gap.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from eventwire.transports.kafka.names import kafka_name
from eventwire.url import BrokerUrl
from tests.chaos.journal import Journal
from tests.chaos.oracle import Violation
from tests.chaos.run import Run
from tests.chaos.scene import Scene

_EVERY = 0.05
Positions = Callable[[], Awaitable[Mapping[int, int]]]
"""What is committed, by partition."""


class Audit:
    """Compares positions to the journal again and again. `looks` counts positions that were above 0."""

    def __init__(self, journal: Journal, positions: Positions) -> None:
        self._journal = journal
        self._positions = positions
        self._taken = 0
        self._offsets: defaultdict[int, set[int]] = defaultdict(set)
        self._marks: defaultdict[int, int] = defaultdict(int)
        self.looks = 0
        self.gaps: list[str] = []

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_EVERY)

    async def look(self) -> None:
        """Compare once: first the positions, then the journal."""
        committed = await self._positions()
        self._take_in()
        for partition, position in committed.items():
            self.looks += position > 0
            mark = self._mark(partition)
            if position > mark:
                self.gaps.append(f"partition {partition}: committed {position}, but {mark} was not handled")

    def require(self) -> None:
        """Raise Violation when a commit was past a gap."""
        if self.gaps:
            raise Violation(f"commit past a gap, {len(self.gaps)} times: {self.gaps[0]}")

    def _take_in(self) -> None:
        handled = self._journal.read().handled
        for line in handled[self._taken :]:
            self._offsets[line.partition].add(line.offset)
        self._taken = len(handled)

    def _mark(self, partition: int) -> int:
        """The lowest offset that was not handled."""
        mark, offsets = self._marks[partition], self._offsets[partition]
        while mark in offsets:
            offsets.remove(mark)
            mark += 1
        self._marks[partition] = mark
        offsets.difference_update([offset for offset in offsets if offset < mark])
        return mark


@asynccontextmanager
async def positions_of(scene: Scene) -> AsyncGenerator[Positions]:
    """Reads the group's positions at the broker."""
    url = BrokerUrl.parse(scene.url)
    if url.scheme == "sqlite":
        with closing(sqlite3.connect(url.path, timeout=5)) as connection:
            yield lambda: _of_file(connection, scene)
        return
    hosts = [host.address(9092) for host in url.hosts]
    admin = AIOKafkaAdminClient(bootstrap_servers=hosts)
    await admin.start()
    try:
        yield lambda: _of_kafka(admin, scene)
    finally:
        await admin.close()


async def _of_file(connection: sqlite3.Connection, scene: Scene) -> dict[int, int]:
    rows = connection.execute(
        """SELECT p.number, o.committed FROM positions o JOIN partitions p ON p.id = o.partition
           WHERE o.consumers = ? AND p.topic = ?""",
        (scene.group, scene.topic_name),
    )
    return dict(rows.fetchall())


async def _of_kafka(admin: AIOKafkaAdminClient, scene: Scene) -> dict[int, int]:
    try:
        found = await admin.list_consumer_group_offsets(scene.group)
    except KafkaError as error:
        if not error.retriable:
            raise
        return {}  # a fresh broker's coordinator is not found yet
    name = kafka_name(scene.topic_name)
    return {at.partition: known.offset for at, known in found.items() if at.topic == name}


@asynccontextmanager
async def audited(run: Run) -> AsyncGenerator[Audit]:
    """Watches in the background; a commit past a gap ends the run's next wait."""
    async with positions_of(run.scene) as positions:
        audit = Audit(run.crew.journal, positions)
        run.crew.guards.append(audit.require)
        watching = asyncio.create_task(audit.watch())
        try:
            yield audit
            await audit.look()
            audit.require()
        finally:
            watching.cancel()
            [ended] = await asyncio.gather(watching, return_exceptions=True)
        if isinstance(ended, Exception):
            raise ended
