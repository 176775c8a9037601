"""One member of a group: its own connection, kept up for as long as it is open."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Coroutine, Iterable, Sequence
from uuid import uuid4

import aio_pika
from aiormq.exceptions import InvalidFrameError

from eventwire.errors import BrokerError, Closed, TopicMismatch, TopicMissing
from eventwire.transport import ConsumerHealth, Subscription, TopicSpec
from eventwire.transports.amqp import suspects, topology
from eventwire.transports.amqp.client import Channel
from eventwire.transports.amqp.connection import REFUSED, calling, dial, hang_up, open_channel
from eventwire.transports.amqp.notes import Notes
from eventwire.transports.amqp.session import AmqpDelivery, Delivered, Session
from eventwire.transports.amqp.settings import Settings
from eventwire.transports.amqp.suspects import Memory, Suspects
from eventwire.transports.amqp.tolerance import TolerantTransport
from eventwire.transports.amqp.watch import Watch

_log = logging.getLogger(__name__)

_STAGGER = 0.02
"""Seconds, at most, between consuming two queues. A queue gives its messages to the first worker that asks: workers
that start together ask in different orders, and so share the queues."""
_PERMANENT = (TopicMissing, TopicMismatch)
_FIRST_PAUSE, _PATIENT_PAUSE, _LONGEST_PAUSE = 0.1, 1.0, 5.0
_DECLARED_AGAIN = 4.0
"""Seconds that a queue which is gone may take to be declared again, until it is a failure."""
_LEAVE, _FLUSH, _HANG_UP = 1.0, 1.0, 1.5
"""Seconds at the end for noting that it is a clean one, for the last acks, and for disconnecting."""
_A_MOMENT = 5.0
"""Seconds without a connection that are no trouble yet."""
_STEADY = 10.0
"""Seconds of life after which a channel's loss is no longer counted with the one before."""


class AmqpConsumer:
    """Reads a group's queues. Made by `AmqpConsumer.open`.

    After a loss of connection, channel or queue it reads again by itself, for as long as that takes: what was not
    settled is delivered once more. What only a person can mend (a queue that is gone, access refused) `fetch` raises.
    """

    def __init__(self, settings: Settings, subscription: Subscription) -> None:
        self._settings = settings
        self._subscription = subscription
        self._queues = suspects.sources(subscription)
        self._places = {queue: source.place for queue, source in self._queues.items()}
        self._prefetch = min(settings.prefetch, subscription.max_uncommitted)
        self._notes = Notes(settings)
        self._memory = Memory(uuid4().hex, set())
        self._connection: aio_pika.Connection | None = None
        self._session: Session | None = None
        self._suspects: Suspects | None = None
        self._watch: Watch | None = None
        self._looking: Channel | None = None
        self._failure: BrokerError | None = None
        self._tolerant: TolerantTransport | None = None
        self._closing: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._rebuilt = 0
        self._lost = 0.0
        self._trouble: str | None = None

    @classmethod
    async def open(cls, settings: Settings, subscription: Subscription) -> AmqpConsumer:
        """Join the group. Raises Unreachable and TopicMissing."""
        consumer = cls(settings, subscription)
        try:
            await consumer._consume()
        except BaseException:
            await consumer.close()
            raise
        consumer._keeper = asyncio.create_task(consumer._keep())
        consumer._keeper.add_done_callback(consumer._on_end)
        return consumer

    def health(self) -> ConsumerHealth:
        """How it is. Broker and lag are asked about every ten seconds; a lost connection is connected for five more."""
        now = asyncio.get_running_loop().time()
        watch, gate = self._watch, self._suspects
        held = Counter(delivered.consumer for delivered in self._in_hand())
        full = {self._places[queue] for queue, count in held.items() if count >= self._prefetch}
        lost = self._session is None
        return ConsumerHealth(
            connected=not lost or now - self._lost < _A_MOMENT,
            heartbeat=now - watch.heard if watch else None,
            lag=watch.lag if watch and not lost else None,
            paused=tuple(sorted(full)),
            suspect=gate.places if gate else (),
            rebuilt=self._rebuilt,
            trouble=self._why_not(watch, gate),
        )

    def holds(self, topic: TopicSpec, group: str) -> int:
        """How many messages of the topic it holds for the group and has not settled."""
        if not topic.queue and group != self._subscription.group:
            return 0
        return sum(self._places[delivered.consumer].topic == topic.name for delivered in self._in_hand())

    def _why_not(self, watch: Watch | None, gate: Suspects | None) -> str | None:
        if self._failure:
            return str(self._failure)
        if self._session is None:
            return self._trouble
        return (watch and watch.trouble) or (gate and gate.trouble) or None

    def _in_hand(self) -> Iterable[Delivered]:
        if self._session:
            yield from self._session.in_hand()
        if self._suspects:
            yield from self._suspects.in_hand()

    async def fetch(self, limit: int) -> Sequence[AmqpDelivery]:
        """Wait for messages; up to `limit`, at least one."""
        while True:
            if self._closing:
                raise Closed("the consumer is closed")
            if self._failure:
                raise self._failure
            session = self._session
            if session and (taken := session.take(limit)):
                return taken
            await (session.arrived if session else self._changed).wait()

    async def flush(self) -> None:
        """Settle at the broker everything acked so far."""
        if self._session:
            await self._session.flush()

    async def close(self) -> None:
        """Flush and leave: the broker gives what is not acked to others. Bounded to about 4 seconds.

        Cancelling ends the wait and not the closing.
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    @property
    def closed(self) -> bool:
        """Whether it is closed, and nothing of it is left."""
        return self._closing is not None and self._closing.done()

    async def _close(self) -> None:
        self._wake()
        if self._keeper:
            self._keeper.cancel()
            await asyncio.wait({self._keeper}, timeout=0.5)
        if self._session and self._suspects:
            await _at_most(_LEAVE, self._suspects.leave())
            await _at_most(_FLUSH, self._session.flush())
        self._drop()
        if self._connection:
            await asyncio.gather(hang_up(self._connection, _HANG_UP), self._notes.close(_HANG_UP))

    def _drop(self) -> None:
        session = self._session
        if self._suspects and not self._closing:
            self._suspects.lost()
        self._session = self._suspects = None
        self._changed.set()
        if session:
            session.drop()

    async def _consume(self) -> None:
        """Connect, and ask every queue for its messages."""
        subscription = self._subscription
        self._connection = await dial(self._settings, self._settings.consumer, self._tolerant)
        await topology.check(self._connection, subscription.topics, [subscription.group])
        async with calling(f"group {subscription.group}: consuming"):
            self._looking = await open_channel(self._connection)
            channel = await open_channel(self._connection)
            await channel.basic_qos(prefetch_count=self._prefetch)
            session = Session(channel, self._places, subscription.commit_interval, self._prefetch)
            gate = Suspects(session, self._queues, self._notes, self._memory, self._fail)
            session.gate = gate
            try:
                await self._ask(channel, session)
            except BaseException:
                gate.lost()
                raise
        self._session, self._suspects = session, gate
        singles = {queue: source.onward is None for queue, source in self._queues.items()}
        self._watch = Watch(session, singles, self._in_hand, self._prefetch)
        self._trouble = None
        self._changed.set()

    async def _ask(self, channel: Channel, session: Session) -> None:
        queues = list(self._queues)
        random.shuffle(queues)
        for queue in queues:
            await channel.basic_consume(queue, session.on_message, consumer_tag=queue)
            await asyncio.sleep(random.uniform(0, _STAGGER))  # noqa: S311 - no secret

    async def _keep(self) -> None:
        """Watch the channel; when it is lost, let handlers finish, then read again."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while self._session and self._watch and self._looking:
            began = loop.time()
            why, cause = await self._watch.loss(self._looking)
            self._lost, self._trouble = loop.time(), why
            if isinstance(cause, InvalidFrameError):
                self._tolerant = TolerantTransport(secure=self._settings.url.scheme == "amqps")
            _log.warning("group %s: reading again after a loss: %s", self._subscription.group, why)
            await self._let_go()
            pause = _FIRST_PAUSE if loop.time() - began > _STEADY else min(pause * 2, _LONGEST_PAUSE)
            await self._restore(pause)
            self._rebuilt += not self._failure

    async def _restore(self, pause: float) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not self._session and not self._failure:
            await asyncio.sleep(pause)
            patient = loop.time() - began < _DECLARED_AGAIN
            pause = min(pause * 2, _PATIENT_PAUSE if patient else _LONGEST_PAUSE)
            await self._try(patient=patient)

    async def _let_go(self) -> None:
        self._drop()
        self._changed.clear()
        await self._subscription.on_revoke(tuple(dict.fromkeys(self._places.values())))
        if self._connection:
            await hang_up(self._connection, 2.0)

    def _on_end(self, keeper: asyncio.Task[None]) -> None:
        """Nobody watches any more: `fetch` has to say so."""
        if not self._closing and not self._failure:
            error = None if keeper.cancelled() else keeper.exception()
            failure = BrokerError(f"group {self._subscription.group}: the consumer stopped: {error!r}")
            failure.__cause__ = error
            self._drop()
            self._fail(failure)

    async def _try(self, *, patient: bool) -> None:
        """Once more. `patient`: what is missing may be about to be declared again."""
        try:
            await self._consume()
        except BrokerError as error:
            self._trouble = str(error)
            missing = isinstance(error, TopicMissing) and patient
            if not missing and (isinstance(error, _PERMANENT) or isinstance(error.__cause__, REFUSED)):
                self._fail(error)
            else:
                _log.warning("group %s: %s; trying again", self._subscription.group, error)
            if self._connection:
                await hang_up(self._connection, 2.0)

    def _fail(self, error: BrokerError) -> None:
        self._failure = error
        self._wake()

    def _wake(self) -> None:
        """Have `fetch` look what changed."""
        self._changed.set()
        if self._session:
            self._session.arrived.set()


async def _at_most(seconds: float, work: Coroutine[None, None, None]) -> None:
    """Do it, or stop when the time is over: what was not done is left to the broker, which delivers again."""
    task = asyncio.create_task(work)
    await asyncio.wait({task}, timeout=seconds)
    task.cancel()
    await asyncio.wait({task}, timeout=0.1)
    if task.done() and not task.cancelled() and (error := task.exception()):
        _log.debug("not done at the end: %r", error)
