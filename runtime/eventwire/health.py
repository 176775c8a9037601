"""Health: how a worker and a bus are, told truthfully.

Alive: a restart would not help. Ready: it reads and handles just now.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from eventwire.counts import Counts
from eventwire.transport import ConsumerHealth

STALLED = 60.0
"""Seconds with events to fetch and nothing in hand, none settled, that are a fault."""


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """How a worker is, as of now. Times are in seconds."""

    group: str
    alive: bool
    """False when only a restart helps: it ended with an error, or it stalls though nothing keeps it from reading."""
    ready: bool
    """Connected, reading, and neither paused nor stopping."""
    reasons: tuple[str, ...]
    """Why it is not alive or not ready, in words. What handlers raised is quoted, up to 200 characters of it."""
    connected: bool
    heartbeat: float | None
    """How long ago the broker last answered, the longest of its consumers; None before it did."""
    progress: float | None
    """How long ago a delivery was last settled; None before the first."""
    lag: int | None
    """Events of its partitions that the group has not settled; None when not known."""
    in_flight: int
    """Deliveries that are being handled."""
    waiting: int
    """Deliveries that were fetched and wait: for their key, for a place, or for their next attempt."""
    paused: str | None
    """Why nothing is begun: what the circuit breaker saw. None when it is closed."""
    consumers: tuple[ConsumerHealth, ...]
    counts: Counts


@dataclass(frozen=True, slots=True)
class BrokerHealth:
    """Whether a broker answered just now."""

    name: str
    url: str
    """Without password."""
    connected: bool
    seconds: float
    """How long it took to answer, or to give up."""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """What a worker knows of itself. `ended` is the error that it ended with, None while it runs."""

    group: str
    started: bool
    stopping: bool
    ended: BaseException | None
    progress: float | None
    in_flight: int
    waiting: int
    paused: str | None
    stuck: Sequence[str]
    consumers: tuple[ConsumerHealth, ...]
    counts: Counts


class Standstill:
    """For how long a worker has stood still, as seen whenever its health was asked for: an event may just have come."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None

    def seconds(self, now: Situation) -> float:
        """0 unless it should progress: connected, with events, unpaused, and nothing in hand that takes its time."""
        if not _should_progress(now):
            self._since = None
            return 0.0
        if self._since is None:
            self._since = self._clock()
        stood = self._clock() - self._since
        return stood if now.progress is None else min(stood, now.progress)


def judged(now: Situation, standstill: Standstill) -> WorkerHealth:
    """The verdict."""
    dead = tuple(_dead(now, standstill.seconds(now)))
    trouble = (*dead, *_unready(now))
    heartbeats = [each.heartbeat for each in now.consumers if each.heartbeat is not None]
    return WorkerHealth(
        group=now.group,
        alive=not dead,
        ready=not trouble,
        reasons=trouble,
        connected=bool(now.consumers) and all(each.connected for each in now.consumers),
        heartbeat=max(heartbeats, default=None),
        progress=now.progress,
        lag=_lag(now.consumers),
        in_flight=now.in_flight,
        waiting=now.waiting,
        paused=now.paused,
        consumers=now.consumers,
        counts=replace(now.counts),
    )


def _dead(now: Situation, stood: float) -> Iterable[str]:
    if now.ended is not None:
        yield f"it ended: {type(now.ended).__name__}: {str(now.ended)[:200]}"
    if stood >= STALLED:
        yield f"nothing was settled for {stood:.0f} s, though there are events and nothing is being handled"


def _should_progress(now: Situation) -> bool:
    if now.in_flight or now.waiting or now.paused or now.stopping:
        return False
    return any(each.lag and each.connected and not each.paused for each in now.consumers)


def _unready(now: Situation) -> Iterable[str]:
    if not now.started:
        yield "it has not started to read"
    if now.stopping:
        yield "it is stopping"
    if now.paused:
        yield f"paused: {now.paused}"
    yield from now.stuck
    for each in now.consumers:
        if not each.connected:
            yield each.trouble or "no connection to the broker"
        elif each.trouble:
            yield each.trouble


def _lag(consumers: Iterable[ConsumerHealth]) -> int | None:
    known = [each.lag for each in consumers]
    return None if not known or None in known else sum(lag for lag in known if lag is not None)
