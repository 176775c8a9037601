"""Publishing recorded rows: keys in order, each stopped by its own failure, none by another's."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from eventwire.errors import (
    BrokerError,
    Closed,
    ConfigurationError,
    InvalidEvent,
    PublishError,
    TooLarge,
    TopicMismatch,
    TopicMissing,
    Unroutable,
)
from eventwire.message import Message, Receipt
from eventwire.middleware.backoff import backoff
from eventwire.outbox.pauses import Pauses
from eventwire.outbox.rows import Row
from eventwire.outbox.store import Failure
from eventwire.policy import RetryPolicy
from eventwire.transport import TopicSpec

_OF_THE_ROW = (InvalidEvent, TooLarge, Unroutable)
_OF_THE_TOPIC = (TopicMissing, TopicMismatch, ConfigurationError)
_PREPARE_TIMEOUT = 30.0
_PROBE = RetryPolicy(initial_backoff=0.5, max_backoff=5.0)


class Way(Protocol):
    """What carries messages to a topic: `eventwire.route.Channel`."""

    async def try_many(self, messages: Sequence[Message]) -> Sequence[Receipt | Exception]:
        """One outcome for each message."""
        ...


@dataclass
class Outcomes:
    """What became of a batch. What is in neither was not tried."""

    confirmed: list[Row] = field(default_factory=list[Row])
    failed: list[Failure] = field(default_factory=list[Failure])


class Publishing:
    """Publishes batches of rows, and remembers which brokers and topics take nothing."""

    def __init__(self, open_way: Callable[[str, TopicSpec], Awaitable[Way]], retry: RetryPolicy) -> None:
        self._open = open_way
        self._retry = retry
        self._ways: dict[tuple[str, TopicSpec], Way] = {}
        self.brokers: Pauses[str] = Pauses(_PROBE, random.random)
        self.topics: Pauses[tuple[str, str]] = Pauses(retry, random.random)

    async def publish(self, rows: Iterable[Row], may: Callable[[], bool]) -> Outcomes:
        """Publish rows, given in order, as long as `may` allows. Raises Closed.

        Of one key a row is handed to the broker when the one before it is confirmed: whatever fails, none is passed.
        Of a broker that failed when last tried, one row is tried.
        """
        groups: defaultdict[tuple[str, TopicSpec], list[Row]] = defaultdict(list)
        probed: set[str] = set()
        for row in rows:
            if row.broker in probed:
                continue
            if self.brokers.probing(row.broker):
                probed.add(row.broker)
            groups[row.broker, row.spec].append(row)
        outcomes = Outcomes()
        works = [self._topic(broker, spec, group, may, outcomes) for (broker, spec), group in groups.items()]
        for ended in await asyncio.gather(*works, return_exceptions=True):
            if ended is not None:
                raise ended
        self._judge(outcomes)
        return outcomes

    async def _topic(
        self, broker: str, spec: TopicSpec, rows: Sequence[Row], may: Callable[[], bool], outcomes: Outcomes
    ) -> None:
        try:
            way = await self._way(broker, spec)
        except Closed:
            raise
        except _OF_THE_TOPIC as error:
            self.topics.failed((broker, spec.name), time.monotonic(), f"topic {spec.name}: {error}")
            outcomes.failed.append(self._failure(rows[0], error))
            return
        except (BrokerError, PublishError, OSError) as error:
            outcomes.failed.append(self._failure(rows[0], error))
            return
        self.topics.worked((broker, spec.name))
        lines: defaultdict[Hashable, deque[Row]] = defaultdict(deque)
        for row in rows:
            lines[row.line].append(row)
        while lines and may():
            wave = [line[0] for line in lines.values()]
            for row, outcome in zip(wave, await way.try_many([row.message for row in wave]), strict=True):
                self._note(row, outcome, lines, outcomes)

    def _note(
        self, row: Row, outcome: Receipt | Exception, lines: dict[Hashable, deque[Row]], outcomes: Outcomes
    ) -> None:
        if isinstance(outcome, Closed):
            raise outcome
        if isinstance(outcome, Exception):
            outcomes.failed.append(self._failure(row, outcome))
            del lines[row.line]
            return
        outcomes.confirmed.append(row)
        lines[row.line].popleft()
        if not lines[row.line]:
            del lines[row.line]

    async def _way(self, broker: str, spec: TopicSpec) -> Way:
        known = self._ways.get((broker, spec))
        if known is None:
            async with asyncio.timeout(_PREPARE_TIMEOUT):
                known = self._ways[broker, spec] = await self._open(broker, spec)
        return known

    def _failure(self, row: Row, error: Exception) -> Failure:
        return Failure(row, error, backoff(self._retry, row.attempts + 1, random.random()))  # noqa: S311  spreads retries

    def _judge(self, outcomes: Outcomes) -> None:
        """A broker that took nothing, for reasons that are not the rows', is left alone for a while."""
        confirmed = {row.broker for row in outcomes.confirmed}
        for broker in confirmed:
            self.brokers.worked(broker)
        down = {
            failure.row.broker: failure.error
            for failure in outcomes.failed
            if failure.row.broker not in confirmed and _of_the_broker(failure.error)
        }
        for broker, error in down.items():
            self.brokers.failed(broker, time.monotonic(), f"broker `{broker}`: {error}")


def _of_the_broker(error: Exception) -> bool:
    return isinstance(error, BrokerError | PublishError | OSError) and not isinstance(
        error, (*_OF_THE_ROW, *_OF_THE_TOPIC)
    )
