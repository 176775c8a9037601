"""What the log tells: nothing secret, nothing a thousand times, and when no broker can be reached.

At DEBUG aiokafka writes whole requests (a SASL password is one) and every key and value it sends. While its broker is
gone it writes fifty lines a second, and none that says so.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from eventwire.driver_logs import TypesOnly

log = logging.getLogger(__name__)

_TALKATIVE = ("aiokafka.conn", "aiokafka.producer.producer")
_REPETITIVE = (
    "aiokafka",
    "aiokafka.cluster",
    "aiokafka.conn",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
    "aiokafka.producer.sender",
)
_SELDOM = 30.0
_AWAY = 3.0


class Seldom(logging.Filter):
    """Lets the first warning or error of a kind pass, then one in so many seconds that tells how many there were.

    A kind is a text before its arguments are put in.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._passed: dict[tuple[str, object], float] = {}
        self._held: dict[tuple[str, object], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write it."""
        if record.levelno < logging.WARNING:
            return True
        kind = record.name, record.msg
        if 0 <= record.created - self._passed.get(kind, -self._seconds) < self._seconds:
            self._held[kind] = self._held.get(kind, 0) + 1
            return False
        self._passed[kind] = record.created
        if held := self._held.pop(kind, 0):
            record.msg = f"{record.msg} (and {held} more like it before)"
        return True


class Outage:
    """Tells once when a group's member has no connection to any broker, and once when it has one again."""

    def __init__(self, group: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._group = group
        self._clock = clock
        self._since: float | None = None
        self._told = False

    def look(self, *, connected: bool) -> None:
        """Note how it is now. What lasts less than some seconds is not told."""
        now = self._clock()
        if connected:
            if self._told:
                log.warning("group %s: Kafka is back after %.0f s", self._group, now - (self._since or now))
            self._since, self._told = None, False
        elif self._since is None:
            self._since = now
        elif not self._told and now - self._since >= _AWAY:
            self._told = True
            log.warning("group %s: no Kafka broker can be reached; trying again until one can", self._group)


_FILTER = TypesOnly()
_LIMIT = Seldom(_SELDOM)


def filter_logs() -> None:
    """Filter aiokafka's loggers. Doing it again changes nothing."""
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_FILTER)
    for name in _REPETITIVE:
        logging.getLogger(name).addFilter(_LIMIT)
