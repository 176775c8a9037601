"""After a process ended: what was in flight is handed out one by one, so that who ends the next one is known.

RabbitMQ marks as redelivered whatever had been prefetched, and counts it: neither tells who was being handled. So a
redelivered message is a suspect, unless this process held it itself or the last one gave it back as it should. A queue
that one consumer reads at a time (a partition of an ordered topic) hands its suspects out singly, each noted in the
queue's mark before. Suspects of a queue with competing consumers are first moved to one that has one reader at a time.
Of all suspects of a consumer one is handled at a time. A death is charged only to who was handled with nothing at all
beside it: a suspect that comes while nothing else is there, until something is, and one that was noted beside others
when a process ended, all the time. So nobody is charged for another's fault.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from eventwire.errors import BrokerError, TopicMissing
from eventwire.transport import Subscription, TopicPartition
from eventwire.transports.amqp import names
from eventwire.transports.amqp.connection import calling
from eventwire.transports.amqp.marks import Mark, fingerprint
from eventwire.transports.amqp.notes import Notes
from eventwire.transports.amqp.session import Delivered, Session

_log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_PATIENCE = 10.0
"""Seconds after which suspects are handed out though nothing can be noted."""
_MOST_REMEMBERED = 100_000
_MOST_COPIED = 16 * 1024 * 1024
"""Bytes that a leaving reader writes again, at most."""


class Source(NamedTuple):
    """A queue that is consumed. `onward`: where its suspects go; None: they stay, and it has a mark."""

    place: TopicPartition
    onward: str | None = None
    suspects: bool = False
    """Whether all that it holds are suspects."""


def sources(subscription: Subscription) -> dict[str, Source]:
    """The queues of a group."""
    found: dict[str, Source] = {}
    for topic in subscription.topics:
        onward = names.suspects(topic, subscription.group)
        for number, queue in enumerate(names.queues(topic, subscription.group)):
            found[queue] = Source(TopicPartition(topic.name, number), onward)
        if onward is not None:
            found[onward] = Source(TopicPartition(topic.name, 0), suspects=True)
    return found


@dataclass(slots=True)
class Memory:
    """What a consumer knows beyond the end of a session: its own name, and what it held when it lost the connection."""

    name: str
    held: set[str]


class Suspects:
    """The gate of one session. `failed` is told what only a person can mend. For one event loop."""

    def __init__(
        self,
        session: Session,
        queues: Mapping[str, Source],
        notes: Notes,
        memory: Memory,
        failed: Callable[[BrokerError], None],
    ) -> None:
        self._session = session
        self._queues = queues
        self._notes = notes
        self._memory = memory
        self._failed = failed
        self._turn = asyncio.Lock()
        self._alone: str | None = None
        self._held: dict[str, deque[Delivered]] = {queue: deque() for queue in queues}
        self._later: dict[TopicPartition, deque[Delivered]] = {}
        self._marks: dict[str, Mark] = {}
        self._clean: dict[str, set[str]] = {}
        self._standing: set[str] = set()
        self._singled: set[int] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._always = frozenset(queue for queue, source in queues.items() if source.suspects)
        self.gated: set[str] = set(self._always)
        self._uncounted = False
        self._over = False
        self.trouble: str | None = None
        """Why suspects wait, in words."""

    def put(self, delivered: Delivered) -> None:
        """Keep a delivery until it may be handed out."""
        queue = delivered.consumer
        source = self._queues[queue]
        if source.onward is not None and not delivered.raw.redelivered:
            self._later.setdefault(source.place, deque()).append(delivered)
            return
        self._held[queue].append(delivered)
        if queue not in self._tasks and not self._over:
            work = self._pass_on if source.onward is not None else self._single_out
            if source.onward is None:
                self.gated |= self._beside(
                    queue
                )  # before the task runs: what arrives until then comes after this one
            self._tasks[queue] = asyncio.create_task(self._work(work, queue))

    def _beside(self, queue: str) -> set[str]:
        """The queues of the same partition."""
        place = self._queues[queue].place
        return {other for other, source in self._queues.items() if source.place == place}

    @property
    def places(self) -> tuple[TopicPartition, ...]:
        """The partitions that are handed out one by one."""
        return tuple(
            sorted({self._queues[queue].place for queue in self._tasks if not self._queues[queue].onward})
        )

    def in_hand(self) -> Iterable[Delivered]:
        """What is kept here."""
        for kept in (*self._held.values(), *self._later.values()):
            yield from kept

    def lost(self) -> None:
        """The connection is lost: what was in hand and no suspect is none either when it comes again."""
        self._cancel()
        held = {known for _, _, known in self._unsuspected()}
        self._memory.held = held | (self._memory.held if len(self._memory.held) < _MOST_REMEMBERED else set())

    async def leave(self) -> None:
        """Before a clean end: note that what is in hand goes back without anybody's death.

        What competing consumers read is written again, behind the rest: there is no telling who will read it.
        """
        await self._stop_competing()
        self._cancel()
        clean: dict[str, set[str]] = {queue: set() for queue in self._standing}
        copies: list[tuple[str, Delivered]] = []
        for queue, delivered, known in self._unsuspected():
            if self._queues[queue].onward is not None:
                copies.append((queue, delivered))
            else:
                clean.setdefault(queue, set()).add(known)
        await _all(
            *(self._note_clean(queue, known) for queue, known in clean.items()),
            *(self._copy(queue, delivered) for queue, delivered in _bounded(copies)),
        )

    async def _stop_competing(self) -> None:
        """Get no more from queues that others read too. The others stay: a next reader would overtake what is here."""
        async with calling("leaving"):
            for queue, source in self._queues.items():
                if source.onward is not None:
                    await self._session.channel.basic_cancel(queue)
        await asyncio.sleep(0)  # what arrived before the answer is still on its way through aiormq's tasks

    def _cancel(self) -> None:
        self._over = True  # what still arrives goes back with the channel
        for task in self._tasks.values():
            task.cancel()
        self._tasks = {}

    def _unsuspected(self) -> Iterable[tuple[str, Delivered, str]]:
        """What is in hand and no suspect: queue, delivery, fingerprint."""
        for delivered in (*self._session.in_hand(), *self.in_hand()):
            queue, held = delivered.consumer, delivered in self._held[delivered.consumer]
            if delivered.tag in self._singled or self._queues[queue].suspects:
                continue
            known = fingerprint(self._session.delivery(delivered).message)
            if not held or self._is_innocent(delivered, known):
                yield queue, delivered, known

    async def _note_clean(self, queue: str, clean: set[str]) -> None:
        mark = self._marks.get(queue, Mark(self._memory.name))
        await self._note(
            queue, replace(mark, handed=None, clean=frozenset(clean | self._clean.get(queue, set())))
        )

    async def _copy(self, queue: str, delivered: Delivered) -> None:
        delivery = self._session.delivery(delivered)
        await self._notes.pass_on(queue, delivery.message, delivery.attempt)
        self._session.dispose(delivered)

    async def _work(self, work: Callable[[str], Awaitable[None]], queue: str) -> None:
        """Go on until nothing is held."""
        if await self._insist(queue, partial(work, queue)):
            del self._tasks[queue]  # in the same step as the look that found nothing held

    async def _insist(self, queue: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Try until it is done. Events do not wait for ever for a broker that takes no notes."""
        loop = asyncio.get_running_loop()
        began, pause = loop.time(), _FIRST_PAUSE
        while True:
            try:
                await work()
            except BrokerError as error:
                if isinstance(error, TopicMissing):
                    self._failed(error)
                    return False
                self._uncounted |= loop.time() - began > _PATIENCE
                what = "who ends the process is not charged" if self._uncounted else "suspects wait"
                self.trouble = f"{queue}: {what}: {error}"
                _log.warning("%s", self.trouble)
            else:
                return True
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    # --- a queue with competing consumers

    async def _pass_on(self, queue: str) -> None:
        """Move its suspects to their own queue: there, and only then, settled here."""
        held = self._held[queue]
        while held:
            await _all(*(self._move(queue, delivered) for delivered in tuple(held)))

    async def _move(self, queue: str, delivered: Delivered) -> None:
        source = self._queues[queue]
        delivery = self._session.delivery(delivered)
        known = fingerprint(delivery.message)
        if known in self._memory.held or self._uncounted:
            self._memory.held.discard(known)
            self._let_in(queue, delivered)
        else:
            await self._notes.pass_on(source.onward or queue, delivery.message, delivery.attempt - 1)
            self._session.dispose(delivered)
        self._held[queue].remove(delivered)

    def _let_in(self, queue: str, delivered: Delivered) -> None:
        if queue in self.gated:
            self._later.setdefault(self._queues[queue].place, deque()).append(delivered)
        else:
            self._session.admit(delivered)

    # --- a queue with one reader at a time

    async def _single_out(self, queue: str) -> None:
        place, held = self._queues[queue].place, self._held[queue]
        await self._inherit(queue)
        while held or queue in self._standing:
            await (self._next(queue) if held else self._note(queue, self._marks[queue]))
        self.gated -= self._beside(queue) - self._always
        for delivered in self._later.pop(place, ()):
            self._session.admit(delivered)

    async def _inherit(self, queue: str) -> None:
        """Once in a session: charge what the last reader was handling when it ended, take what it gave back."""
        if queue in self._marks:
            return
        mark = Mark() if self._uncounted else await self._notes.read(queue)
        mine = mark.inherited(self._memory.name)
        if mark.handed is not None or mark.clean:
            await self._write(queue, mine)
        self._marks[queue], self._clean[queue] = mine, set(mark.clean)

    async def _note(self, queue: str, mark: Mark) -> None:
        self._marks[queue] = replace(mark, handed=None, clean=frozenset(), alone=False)
        if mark.handed is not None:
            self._standing.add(queue)
        await self._write(queue, mark)
        if mark.handed is None:
            self._standing.discard(queue)
        if self._alone == queue and not mark.alone:  # only now that no mark says it
            self._alone = None
            self._session.end_alone()

    async def _write(self, queue: str, mark: Mark) -> None:
        if not self._uncounted:
            await self._notes.write(queue, mark)
            self.trouble = None

    async def _next(self, queue: str) -> None:
        """Hand out the first of what is held."""
        held = self._held[queue]
        delivered = held[0]
        known = fingerprint(self._session.delivery(delivered).message)
        if self._queues[queue].suspects or not self._is_innocent(delivered, known):
            await self._hand_out_singly(queue, delivered, known)
        elif queue in self._standing:
            await self._note(queue, self._marks[queue])
        else:
            self._clean[queue].discard(known)
            self._memory.held.discard(known)
            self._session.admit(held.popleft())

    async def _hand_out_singly(self, queue: str, delivered: Delivered, known: str) -> None:
        """Note it, hand it out with no other suspect nor anything of its partition beside it, until it is settled."""
        await self._session.clear_of(self._queues[queue].place)
        async with self._turn:
            await _all(*(self._note(other, self._marks[other]) for other in self._standing - {queue}))
            mark = self._marks[queue]
            strict = known in mark.deaths
            handed = replace(mark, handed=known, alone=strict or self._session.idle)
            if handed.alone:
                self._alone = queue
                await self._session.be_alone()
            await self._note(queue, handed)
            self._singled.add(delivered.tag)
            self._held[queue].popleft()
            self._session.admit(delivered._replace(deaths=mark.deaths.get(known, 0), single=True))
            if handed.alone and not strict:
                await self._session.wanted(delivered.tag)
                if not self._session.is_settled(delivered.tag):
                    await self._insist(queue, partial(self._note, queue, replace(handed, alone=False)))
            await self._session.settled(delivered.tag)
            self._marks[queue] = mark.without(known)
        self._singled.discard(delivered.tag)

    def _is_innocent(self, delivered: Delivered, known: str) -> bool:
        return (
            not delivered.raw.redelivered
            or known in self._clean.get(delivered.consumer, ())
            or known in self._memory.held
        )


def _bounded(copies: Iterable[tuple[str, Delivered]]) -> Iterable[tuple[str, Delivered]]:
    size = 0
    for queue, delivered in copies:
        size += len(delivered.raw.body)
        if size > _MOST_COPIED:
            return
        yield queue, delivered


async def _all(*works: Awaitable[None]) -> None:
    """Do all at once and to the end, though some fail; then raise the first failure."""
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
