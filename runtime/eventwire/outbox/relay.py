"""The relay: publishes what was recorded, and deletes it when the broker has it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from sqlalchemy.ext.asyncio import AsyncEngine

from eventwire.bus import Bus
from eventwire.errors import ConfigurationError, Unreachable
from eventwire.middleware.backoff import backoff
from eventwire.outbox.lag import Failing, Lag
from eventwire.outbox.life import Life, together
from eventwire.outbox.membership import Membership
from eventwire.outbox.publishing import Publishing
from eventwire.outbox.rounds import DATABASE_RETRY, Rounds
from eventwire.outbox.store import DATABASE_ERRORS, Store, shown
from eventwire.outbox.tables import Tables
from eventwire.policy import RetryPolicy

_RETRY = RetryPolicy(initial_backoff=0.5, max_backoff=60.0)
_BEATS = 4
"""Heartbeats in one lease."""
_LOOK = 4
"""A relay that finds nothing waits at least so many times as long as looking took."""
_LEAVE_TIMEOUT = 3.0


@dataclass(frozen=True, slots=True)
class RelayHealth:
    """How a relay is, as of now. Times are in seconds, None before there was any."""

    running: bool
    slots: int
    """How many of the slots it holds."""
    relays: int
    """How many relays share the slots, this one included."""
    looked: float | None
    """Since it last looked into the outbox with success."""
    progress: float | None
    """Since it last published something."""
    published: int
    failed: int
    """Attempts that were not confirmed."""
    lag: Lag | None
    """Of the whole outbox, as last measured."""
    trouble: str | None
    """What keeps it from publishing just now, in words; None when nothing does."""


class Relay:
    """Publishes what an `Outbox` recorded, at least once, each key in order; any number of relays share the work.

    `engine`: for PostgreSQL or SQLite; it needs up to three connections and is not disposed of. `batch`: rows that are
    published before they are deleted together, and so the bound on what comes twice after a crash. `poll_interval`:
    seconds between two looks when there was nothing. `lease`: seconds without a heartbeat after which other relays take
    over. `retry`: how long a row that fails, and its key, wait; for ever, `max_attempts` does not apply.
    `lag_interval`: seconds between two measurements of the lag for `health`. `grace`: seconds that a stopping relay has
    to finish its batch.
    """

    def __init__(
        self,
        bus: Bus,
        engine: AsyncEngine,
        *,
        tables: Tables | None = None,
        batch: int = 500,
        poll_interval: float = 0.25,
        lease: float = 10.0,
        retry: RetryPolicy = _RETRY,
        lag_interval: float = 10.0,
        database_timeout: float = 30.0,
        grace: float = 20.0,
    ) -> None:
        if batch < 1 or min(poll_interval, lease, lag_interval, database_timeout) <= 0:
            raise ConfigurationError(
                "batch is 1 or more; intervals, lease and timeout are more than 0 seconds"
            )
        self._bus = bus
        self._engine = engine
        self._store = Store(
            engine,
            Tables() if tables is None else tables,
            longest_wait=retry.max_backoff,
            timeout=database_timeout,
        )
        self._members = Membership(self._store, lease)
        self._rounds = Rounds(self._store, self._members, Publishing(bus.channel, retry), batch)
        self._poll_interval = poll_interval
        self._lease = lease
        self._lag_interval = lag_interval
        self._life = Life("relay", self._run, grace)
        self._wake = asyncio.Event()
        self._running = False
        self._lag: Lag | None = None

    @property
    def bus(self) -> Bus:
        """Where it publishes."""
        return self._bus

    @property
    def database(self) -> str:
        """The database's URL, to be shown: without its password."""
        return self._engine.url.render_as_string(hide_password=True)

    # --- life

    async def run(self) -> None:
        """Relay until `stop()`, SIGTERM or SIGINT; then finish the batch within `grace`. A second signal stops at once.

        Once only. Starts the bus when it is not started, and then closes it too. A database or broker that is gone for
        a while is waited for. Raises ConfigurationError when the tables are missing, Unreachable when database or
        broker cannot be reached at the start, and Closed when it ran before.
        """
        await self._life.run()

    def stop(self) -> None:
        """Ask for the end: the batch is finished within `grace`, the slots are given up."""
        self._life.stop.set()

    async def stopping(self) -> None:
        """Return when the relay was asked to stop, by `stop()` or a signal."""
        await self._life.stop.wait()

    def wake(self) -> None:
        """Look into the outbox at once instead of at the next poll. A hint, for the relay's event loop."""
        self._wake.set()

    async def __aenter__(self) -> Self:
        """Relay in the background, without signal handlers; return when it has joined the relays.

        When the relay fails, the block is cancelled, and raises the relay's error.
        """
        await self._life.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._life.leave()

    # --- what it tells

    async def lag(self) -> Lag:
        """What waits in the outbox. Needs no running relay. Raises Unreachable."""
        try:
            return await self._store.lag()
        except DATABASE_ERRORS as error:
            raise self._unreachable(error) from None

    async def failing(self, limit: int = 20) -> Sequence[Failing]:
        """The first rows that could not be published when last tried. Needs no running relay. Raises Unreachable."""
        try:
            return await self._store.failing(limit)
        except DATABASE_ERRORS as error:
            raise self._unreachable(error) from None

    def health(self) -> RelayHealth:
        """How it is. Does no I/O: what is told was learnt while it worked."""
        at, rounds = time.monotonic(), self._rounds
        pauses = [*rounds.publishing.brokers.reasons, *rounds.publishing.topics.reasons]
        return RelayHealth(
            running=self._running,
            slots=len(self._members.slots),
            relays=self._members.relays,
            looked=None if rounds.looked is None else at - rounds.looked,
            progress=None if rounds.progress is None else at - rounds.progress,
            published=rounds.published,
            failed=rounds.failed,
            lag=self._lag,
            trouble="; ".join([*rounds.trouble.values(), *pauses]) or None,
        )

    # --- working

    async def _run(self) -> None:
        started = self._bus.started
        await self._bus.start()
        try:
            await self._join()
            await together(self._work(), self._keep_alive(), self._measure())
        finally:
            self._running = False
            await self._leave()
            if not started:
                await self._bus.close()

    async def _join(self) -> None:
        try:
            await self._rounds.join()
        except DATABASE_ERRORS as error:
            raise self._unreachable(error) from None
        self._running = True
        self._life.ready.set()

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(f"the outbox's database {self.database}: {shown(error)}")

    async def _leave(self) -> None:
        with suppress(*DATABASE_ERRORS):  # then the others find out by themselves
            async with asyncio.timeout(_LEAVE_TIMEOUT):
                await self._members.leave()

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(self._lease / _BEATS)
            try:
                await self._members.beat()
            except DATABASE_ERRORS as error:
                self._rounds.tell("heartbeat", f"no heartbeat: {shown(error)}")
            else:
                self._rounds.trouble.pop("heartbeat", None)

    async def _measure(self) -> None:
        while True:
            with suppress(*DATABASE_ERRORS):  # the work tells of the same trouble
                self._lag = await self._store.lag()
            await asyncio.sleep(self._lag_interval)

    async def _work(self) -> None:
        failures = 0
        while not self._life.stop.is_set():
            self._wake.clear()
            began = time.monotonic()
            try:
                busy = await self._rounds.round()
            except DATABASE_ERRORS as error:
                failures += 1
                self._rounds.tell("database", f"database: {shown(error)}")
                await self._pause(backoff(DATABASE_RETRY, failures, 0.5))
                continue
            failures = 0
            self._rounds.trouble.pop("database", None)
            if not busy:
                await self._pause(max(self._poll_interval, _LOOK * (time.monotonic() - began)))

    async def _pause(self, seconds: float) -> None:
        """Wait, but not for what ends earlier: a hint to look, or the end."""
        waits = [asyncio.create_task(event.wait()) for event in (self._wake, self._life.stop)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
