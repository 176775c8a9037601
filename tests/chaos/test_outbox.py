"""Bar 11: writers and relays of an outbox on PostgreSQL end at every point, the database is killed, nothing is lost."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from sqlalchemy import Engine, create_engine, func, select
from sqlalchemy.exc import DBAPIError

from eventwire.bus import Bus
from shop.orders.v1.orders_eventwire import ORDERS
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.chaos.outbox_scene import (
    DIED,
    NOWHERE,
    RELAY_POINTS,
    WRITER_POINTS,
    Stage,
    business,
    placed,
    tables,
)
from tests.chaos.report import Figures
from tests.chaos.switches import sized
from tests.chaos.waiting import until
from tools import servers

KILLS_PER_POINT = sized(2, 40)
DATABASE_KILLS = sized(1, 10)
PER_WRITER = sized(300, 6_000)
BATCH = 20
LEASE = 2.0
REPEATING = ("after publish", "before mark")
"""The points that leave a batch published and not marked."""
PATIENCE = 60.0
"""Seconds within which the next thing must happen: a death, an event published."""
ROOT = Path(__file__).parents[2]


class Published(NamedTuple):
    """An event as the broker has it."""

    id: str
    key: str
    number: int


@dataclass
class Place:
    """One writer or relay, which is started again when it died at its point, until no points are left."""

    role: str
    name: str
    points: list[str]
    deaths: Counter[str] = field(default_factory=Counter[str])
    starts: int = 0
    process: asyncio.subprocess.Process | None = None


class Troupe:
    """All processes of the run."""

    def __init__(self, stage: Stage, rng: Random) -> None:
        self._stage = stage
        self._rng = rng
        self._tasks: list[asyncio.Task[None]] = []
        self.places: list[Place] = []

    def start(self, role: str, name: str, points: list[str]) -> None:
        """Fill a place."""
        self.places.append(place := Place(role, name, points))
        self._tasks.append(asyncio.create_task(self._keep(place)))

    async def _keep(self, place: Place) -> None:
        while True:
            point = place.points[0] if place.points else NOWHERE
            code = await self._run(place, point)
            if code != DIED:
                if code:
                    raise AssertionError(f"{place.name} ended with {code}\n{self._tail(place)}")
                return
            place.points.pop(0)
            place.deaths[point] += 1

    async def _run(self, place: Place, point: str) -> int:
        place.starts += 1
        paths = os.pathsep.join(map(str, (ROOT, ROOT / "examples/shop/gen")))
        command = ("-m", "tests.chaos.outbox_child", str(self._stage.file), place.role, place.name)
        with self._log(place).open("ab") as log:
            place.process = await asyncio.create_subprocess_exec(
                *(sys.executable, *command, str(self._rng.random()), point),
                cwd=ROOT, env=os.environ | {"PYTHONPATH": paths}, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            return await place.process.wait()
        finally:
            if place.process.returncode is None:
                place.process.kill()
                await place.process.wait()

    def _log(self, place: Place) -> Path:
        return Path(self._stage.folder, f"{place.name}.log")

    def _tail(self, place: Place) -> str:
        return self._log(place).read_text(errors="replace")[-3000:]

    @property
    def deaths(self) -> Counter[str]:
        """How often a process ended, by point."""
        return sum((place.deaths for place in self.places), Counter[str]())

    def left(self, role: str) -> int:
        """How many deaths of a role are to come."""
        return sum(len(place.points) for place in self.places if place.role == role)

    def takeovers(self) -> int:
        """How often a relay that lived was held for dead: the machine was slower than the lease."""
        logs = (self._log(place).read_text(errors="replace") for place in self.places)
        return sum(text.count("no heartbeat for longer than its lease") for text in logs)

    def ended(self, role: str) -> bool:
        """Whether every place of a role is empty. Raises what ended one of them."""
        for task in self._tasks:
            if task.done():
                task.result()
        return all(
            task.done() for task, place in zip(self._tasks, self.places, strict=True) if place.role == role
        )

    async def stop(self) -> None:
        """SIGTERM to all, which must end cleanly."""
        for place in self.places:
            if place.process is not None and place.process.returncode is None:
                place.process.terminate()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """End what is left."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def troupe(stage: Stage, rng: Random) -> AsyncGenerator[Troupe]:
    found = Troupe(stage, rng)
    try:
        yield found
    finally:
        await found.close()


@pytest.fixture
def server() -> Iterator[servers.Server]:
    """A server of our own, to be killed."""
    try:
        with servers.postgres(private=True) as found:
            yield found
    except servers.Unavailable as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"NOT RUN: {missing}")


class Database:
    """The test's own look into the database, which may be down just now."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: int | None = None
        self._changed = 0.0

    def committed(self) -> list[Published]:
        """What the application committed."""
        with self._engine.connect() as connection:
            return [Published(*row) for row in connection.execute(select(placed))]

    def relays(self) -> int:
        """How many relays have joined."""
        with self._engine.connect() as connection:
            return connection.execute(select(func.count()).select_from(tables.relays)).scalar_one()

    def waiting(self) -> int:
        """Rows of the outbox; -1 while the database is down."""
        try:
            with self._engine.connect() as connection:
                return connection.execute(select(func.count()).select_from(tables.rows)).scalar_one()
        except DBAPIError:
            return -1

    def emptied(self) -> bool:
        """Whether nothing waits any more. Raises when nothing changes for long."""
        waiting = self.waiting()
        if waiting != self._waiting:
            self._waiting, self._changed = waiting, time.monotonic()
        stuck = time.monotonic() - self._changed
        assert not waiting or stuck < PATIENCE, f"lost: {waiting} rows are stuck in the outbox"
        return waiting == 0


async def read_all(bus: Bus) -> list[Published]:
    """Everything that the broker has, a key's events in their order."""
    ends = {f"end-{number}" for number in range(200)}  # in every partition, behind all else
    for key in ends:
        await bus.send(ORDERS, OrderPlaced(order_id=key))
    found: list[Published] = []
    async with bus.subscribe(ORDERS, group="oracle") as deliveries:
        async for delivery in deliveries:
            event = delivery.event
            assert isinstance(event, OrderPlaced)
            if event.order_id in ends:
                ends.remove(event.order_id)
                if not ends:
                    return found
            else:
                found.append(Published(delivery.context.id, event.order_id, event.total_cents))
            delivery.ack()
    raise AssertionError("the broker's log ended")


def disorder(published: list[Published]) -> list[Published]:
    """Events that were published for the first time after a later one of their key."""
    latest: defaultdict[str, int] = defaultdict(lambda: -1)
    seen: set[str] = set()
    late: list[Published] = []
    for each in published:
        if each.id not in seen and each.number < latest[each.key]:
            late.append(each)
        seen.add(each.id)
        latest[each.key] = max(latest[each.key], each.number)
    return late


async def kill_database(server: servers.Server, rng: Random, times: int) -> None:
    """At random moments under load."""
    for _ in range(times):
        await asyncio.sleep(rng.uniform(0.5, 4.0))
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)


def points(rng: Random, names: tuple[str, ...], places: int) -> list[list[str]]:
    """Who dies where, and in which order."""
    every = list(names) * KILLS_PER_POINT
    rng.shuffle(every)
    return [every[place::places] for place in range(places)]


def require(committed: list[Published], published: list[Published], figures: Figures, bound: int) -> None:
    """Hold what was published against what was committed."""
    known, seen = {each.id for each in committed}, {each.id for each in published}
    figures.events, figures.lost = len(known), len(known - seen)
    figures.duplicates, figures.bound = len(published) - len(seen), bound
    assert not known - seen, (
        f"lost: {len(known - seen)} of {len(known)} committed events were never published"
    )
    assert not seen - known, f"ghosts: {len(seen - known)} published events were never committed"
    assert not (late := disorder(published)), f"out of order: {len(late)}, the first {late[0]}"
    assert figures.duplicates <= bound, f"duplicates: {figures.duplicates}, above the bound of {bound}"


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(900)
@pytest.mark.bar(11, "outbox: processes end at 5 points, PostgreSQL is killed, two relays, two writers")
async def test_outbox_publishes_what_was_committed(
    server: servers.Server, tmp_path: Path, rng: Random, figures: Figures
) -> None:
    figures.broker = "outbox on PostgreSQL, sqlite"
    stage = Stage(server.url, str(tmp_path), PER_WRITER, BATCH, LEASE)
    stage.save()
    engine = create_engine(server.url, pool_pre_ping=True)
    for metadata in (business, tables.metadata):
        metadata.create_all(engine)
    database = Database(engine)
    async with stage.open() as bus, troupe(stage, rng) as children:
        for number, chosen in enumerate(points(rng, RELAY_POINTS, 2)):
            children.start("relay", f"relay{number}", chosen)
        await until(lambda: database.relays() == 2, PATIENCE, "the relays have joined")
        for number, chosen in enumerate(points(rng, WRITER_POINTS, 2)):
            children.start("writer", f"writer{number}", chosen)
        killing = asyncio.create_task(kill_database(server, rng, DATABASE_KILLS))
        await until(lambda: children.ended("writer") and killing.done(), 600, "all events are committed")
        await killing
        await until(lambda: not children.left("relay") or database.emptied(), 600, "the relays have died")
        for number in range(2, 4):  # with relays that live: writers that commit lower numbers later
            children.start("writer", f"writer{number}", [])
        await until(lambda: children.ended("writer") and database.emptied(), 600, "the outbox is empty")
        await children.stop()
        assert database.waiting() == 0
        deaths, crashes = children.deaths, children.deaths.total()
        published, committed = await read_all(bus), database.committed()
    engine.dispose()
    left = children.left("relay") + children.left("writer")
    figures.faults = f"{crashes} deaths, {DATABASE_KILLS} SIGKILLs of PostgreSQL"
    figures.note(", ".join(f"{count} {point}" for point, count in sorted(deaths.items())))
    again = sum(deaths[point] for point in REPEATING) + 2 * DATABASE_KILLS + children.takeovers()
    require(committed, published, figures, bound=BATCH * again)
    assert left == 0, f"{left} deaths did not happen: {deaths}"
