"""Bar 9: whatever the bytes are, each message is handled or in the dead letter with a reason, and the worker lives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import groupby, islice
from random import Random
from typing import Any

import pytest

from eventwire.bus import Bus
from eventwire.context import Context
from eventwire.group import Policies, dead_letter_spec
from eventwire.message import Message
from eventwire.route import spec_of
from eventwire.topic import Topic
from eventwire.transport import Subscription, Transport
from eventwire.worker import Worker
from tests.chaos.fuzz import BINARY, HUGE, MARK, TOPICS, Payload, payloads
from tests.chaos.handlers import handler_of
from tests.chaos.holdings import rss
from tests.chaos.report import Figures
from tests.chaos.switches import sized
from tests.chaos.waiting import until

GROUP = "fuzz"
BROKER = 2 * HUGE + (8 << 20)
"""Bytes that the memory broker may hold, in this process: a huge one, its dead letter, and many small ones."""
GROWTH = 50 << 20
WARM_UP = 2000
PAYLOADS, HUGE_ONES = sized((6_000, 3), (100_000, 40))
SPECS = {topic.name: spec_of(topic) for topic in TOPICS}


class Fates:
    """What became of each payload, by its number. A second fate, or a dead letter without a reason, is a fault."""

    def __init__(self) -> None:
        self.handled: set[int] = set()
        self.dead: set[int] = set()
        self.faults: list[str] = []

    @property
    def settled(self) -> int:
        return len(self.handled) + len(self.dead)

    async def reach(self, count: int) -> None:
        """Wait until so many have a fate."""
        await until(lambda: self.settled >= count, 20, lambda: f"{self.settled} of {count} settled")

    async def handle(self, event: Any, context: Context) -> None:
        """What a handler may do with what it gets: look at all of it."""
        event.SerializeToString()
        str(event)
        self._note(self.handled, context.message)

    def bury(self, message: Message) -> None:
        if not (message.header("eventwire_dead_error") and message.header("eventwire_dead_reason")):
            self.faults.append(f"dead letter {message.header(MARK)!r} without a reason")
        self._note(self.dead, message)

    def _note(self, fate: set[int], message: Message) -> None:
        number = int(message.header(MARK) or b"-1")
        if number in self.handled or number in self.dead:
            self.faults.append(f"{number} has two fates")
        fate.add(number)

    def check(self, batch: Sequence[Payload]) -> None:
        """Raise AssertionError for what went wrong so far."""
        for payload in batch:
            number = int(payload.message.header(MARK) or b"-1")
            if payload.readable is not None and payload.readable != (number in self.handled):
                what = "readable, not handled" if payload.readable else "unreadable, reached a handler"
                self.faults.append(f"{what}: {str(payload.message)[:300]}")
        assert not self.faults, f"{len(self.faults)} faults, first {self.faults[0]}"


async def bury(transport: Transport, topic: Topic[Any], fates: Fates) -> None:
    """Read a group's dead letter."""
    spec = dead_letter_spec(topic, Policies(GROUP))
    assert spec is not None
    consumer = await transport.subscribe(Subscription("morgue", (spec,)))
    while True:
        for delivery in await consumer.fetch(100):
            fates.bury(delivery.message)
            delivery.ack()


@pytest.mark.timeout(600)
@pytest.mark.bar(
    9, "fuzzed payloads: random, flipped, cut, spliced, nested 101 deep, mistyped, empty, 16 MiB"
)
@pytest.mark.parametrize("broker", ["memory"], indirect=True)
async def test_every_payload_is_handled_or_in_the_dead_letter(
    broker: str, rng: Random, figures: Figures, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "eventwire")  # a line per dead letter, all of which pytest would keep
    fates, published, base = Fates(), 0, 0
    async with morgue(f"{broker}://?max_body={HUGE + 100}&max_bytes={BROKER}", fates) as (bus, worker):
        transport = bus.transport(BINARY)
        for batch in batches(payloads(rng, PAYLOADS, huge=HUGE_ONES)):
            for payload in batch:
                await transport.publish(SPECS[payload.message.topic], payload.message)
            published += len(batch)
            await fates.reach(published)
            fates.check(batch)
            base = base or (rss() if published >= WARM_UP else 0)
        grown = rss() - base
    figures.events = published
    figures.faults = f"{published:,} payloads, {HUGE_ONES} of 16 MiB"
    figures.note(
        f"{len(fates.handled):,} handled, {len(fates.dead):,} in the dead letter, RSS +{grown >> 20} MiB"
    )
    assert fates.settled == published == PAYLOADS
    assert worker.counts.handled == len(fates.handled) > PAYLOADS // 20, "hardly anything was handled"
    assert grown < GROWTH + BROKER, f"RSS: {grown >> 20} MiB more than after {WARM_UP} payloads"


@asynccontextmanager
async def morgue(url: str, fates: Fates) -> AsyncGenerator[tuple[Bus, Worker]]:
    """A worker on all topics, and a reader of each dead letter. Raises what made the worker end."""
    async with Bus(url) as bus:
        worker = Worker(bus, *(handler_of(topic, fates.handle) for topic in TOPICS), group=GROUP)
        readers = [asyncio.create_task(bury(bus.transport(topic), topic, fates)) for topic in TOPICS]
        try:
            async with worker:
                yield bus, worker
        finally:
            for reader in readers:
                reader.cancel()


def batches(source: Iterator[Payload]) -> Iterator[list[Payload]]:
    """So many at a time; a huge one alone, that the broker may hold it twice."""
    for huge, run in groupby(source, key=lambda payload: payload.huge):
        size = 1 if huge else 500
        while batch := list(islice(run, size)):
            yield batch
