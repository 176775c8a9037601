"""Looking after a consumer: whether its channel lives, whether the broker answers, whether anything is stuck."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from eventwire.errors import BrokerError
from eventwire.transports.amqp import topology
from eventwire.transports.amqp.client import Channel
from eventwire.transports.amqp.connection import calling
from eventwire.transports.amqp.session import Delivered, Session

TICK = 1.0
"""Seconds between looks for a consumer that the broker cancelled (its queue was deleted): aiormq does not tell."""
LOOK = 10.0
"""Seconds between asking the broker how much waits in the queues."""
_ANSWER = 10.0
"""Seconds after which a look that was not answered is told as trouble; the heartbeat ends the connection."""


class Look(NamedTuple):
    """What was found: the last delivery, what waits, who consumes, and whether the reader had room; by queue."""

    last: Mapping[str, int]
    counts: Mapping[str, tuple[int, int]]
    room: frozenset[str]


class Watch:
    """Of one session. `open_channel` opens a channel on its connection."""

    def __init__(
        self,
        session: Session,
        queues: Mapping[str, bool],
        in_hand: Callable[[], Iterable[Delivered]],
        prefetch: int,
    ) -> None:
        self._session = session
        self._queues = queues
        self._in_hand = in_hand
        self._prefetch = prefetch
        self._loop = asyncio.get_running_loop()
        self._before: Look | None = None
        self._last: Mapping[str, int] = {}
        self.heard = self._loop.time()
        """When the broker last answered or delivered, in the loop's time."""
        self.trouble: str | None = None

    @property
    def lag(self) -> int | None:
        """What waited at the last look, and what is in hand now."""
        if self._before is None:
            return None
        return sum(waiting for waiting, _ in self._before.counts.values()) + sum(1 for _ in self._in_hand())

    async def loss(self, channel: Channel) -> tuple[str, BaseException | None]:
        """Wait until the session has to be made anew; return why. `channel` is for looking only."""
        looked = self._loop.time()
        while True:
            done, _ = await asyncio.wait({closing := self._session.channel.closing}, timeout=TICK)
            if done:
                error = None if closing.cancelled() else closing.exception()
                return str(error or "the channel was closed"), error
            closing.cancel()
            if gone := self._queues.keys() - self._session.channel.consumers.keys():
                return f"RabbitMQ cancelled the consumers of {', '.join(sorted(gone))}", None
            self._listen()
            if self._loop.time() - looked >= LOOK:
                if why := await self._look(channel):
                    return why, None
                looked = self._loop.time()

    def _listen(self) -> None:
        if self._last != self._session.last:
            self._last = dict(self._session.last)
            self.heard = self._loop.time()

    async def _look(self, channel: Channel) -> str | None:
        """Ask how much waits. A queue with messages, of which none came to a reader with room, is stuck."""
        last = dict(self._session.last)
        held = Counter(delivered.consumer for delivered in self._in_hand())
        room = frozenset(queue for queue in self._queues if held[queue] < self._prefetch)
        try:
            async with asyncio.timeout(_ANSWER), calling("asking for what waits"):
                counts = await topology.count(channel, self._queues)
        except TimeoutError:
            self.trouble = f"RabbitMQ has not answered for {self._loop.time() - self.heard:.0f} s"
            return None
        except BrokerError as error:
            return str(error)
        self.heard, self.trouble = self._loop.time(), None
        before, self._before = self._before, Look(last, counts, room)
        stuck = sorted(self._stuck(before, self._before)) if before else []
        return f"nothing came from {', '.join(stuck)} though messages wait" if stuck else None

    def _stuck(self, before: Look, now: Look) -> Iterable[str]:
        """Of a queue with one reader at a time only that reader gets messages: who got none may be the next in line."""
        for queue, single in self._queues.items():
            same = before.last.get(queue) == now.last.get(queue) == self._session.last.get(queue)
            waits = before.counts[queue][0] > 0 and now.counts[queue][0] > 0
            nobody = before.counts[queue][1] == now.counts[queue][1] == 0
            ours = not single or queue in now.last
            if same and queue in before.room & now.room and (nobody or (waits and ours)):
                yield queue
