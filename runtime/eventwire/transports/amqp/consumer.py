"""One member of a group: its own connection, kept up for as long as it is open."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence

import aio_pika
from aiormq.exceptions import InvalidFrameError

from eventwire.errors import BrokerError, Closed, TopicMismatch, TopicMissing
from eventwire.transport import ConsumerHealth, Subscription, TopicPartition
from eventwire.transports.amqp import names, topology
from eventwire.transports.amqp.client import Channel
from eventwire.transports.amqp.connection import REFUSED, calling, dial, hang_up, open_channel
from eventwire.transports.amqp.session import AmqpDelivery, Session
from eventwire.transports.amqp.settings import Settings
from eventwire.transports.amqp.tolerance import TolerantTransport

_log = logging.getLogger(__name__)

_WATCH = 1.0
"""Seconds between looks for a consumer that the broker cancelled (its queue was deleted): aiormq does not tell."""
_STAGGER = 0.02
"""Seconds, at most, between consuming two queues. A queue gives its messages to the first worker that asks: workers
that start together ask in different orders, and so share the queues."""
_PERMANENT = (TopicMissing, TopicMismatch)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
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
        self._sources = {
            queue: TopicPartition(topic.name, partition)
            for topic in subscription.topics
            for partition, queue in enumerate(names.queues(topic, subscription.group))
        }
        self._prefetch = min(settings.prefetch, subscription.max_uncommitted)
        self._connection: aio_pika.Connection | None = None
        self._session: Session | None = None
        self._failure: BrokerError | None = None
        self._tolerant: TolerantTransport | None = None
        self.closed = False
        self._changed = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

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
        """How it is."""
        return ConsumerHealth(self._session is not None, None, None)

    async def fetch(self, limit: int) -> Sequence[AmqpDelivery]:
        """Wait for messages; up to `limit`, at least one."""
        while True:
            if self.closed:
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
        """Flush and leave: the broker gives what is not acked to others. Bounded to about 4 seconds."""
        if self.closed:
            return
        self.closed = True
        if self._keeper:
            self._keeper.cancel()
            await asyncio.wait({self._keeper}, timeout=0.5)
        if self._session:
            await asyncio.wait({asyncio.ensure_future(self._session.flush())}, timeout=1.5)
        self._drop()
        if self._connection:
            await hang_up(self._connection, 2.0)

    def _drop(self) -> None:
        session, self._session = self._session, None
        self._changed.set()
        if session:
            session.drop()

    async def _consume(self) -> None:
        """Connect, and ask every queue for its messages."""
        subscription = self._subscription
        self._connection = await dial(self._settings, self._settings.consumer, self._tolerant)
        await topology.check(self._connection, subscription.topics, [subscription.group])
        async with calling(f"group {subscription.group}: consuming"):
            channel = await open_channel(self._connection)
            await channel.basic_qos(prefetch_count=self._prefetch)
            session = Session(channel, self._sources, subscription.commit_interval, self._prefetch)
            await self._ask(channel, session)
        self._session = session
        self._changed.set()

    async def _ask(self, channel: Channel, session: Session) -> None:
        queues = list(self._sources)
        random.shuffle(queues)
        for queue in queues:
            await channel.basic_consume(queue, session.on_message, consumer_tag=queue)
            await asyncio.sleep(random.uniform(0, _STAGGER))  # noqa: S311 - no secret

    async def _keep(self) -> None:
        """Watch the channel; when it is lost, let handlers finish, then read again."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while self._session:
            began = loop.time()
            why = await self._loss(self._session)
            _log.warning("group %s: reading again after a loss: %s", self._subscription.group, why)
            await self._let_go()
            pause = _FIRST_PAUSE if loop.time() - began > _STEADY else min(pause * 2, _LONGEST_PAUSE)
            await self._restore(pause)

    async def _restore(self, pause: float) -> None:
        while not self._session and not self._failure:
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            await self._try()

    async def _loss(self, session: Session) -> str:
        """Wait until the channel closed or a consumer of it was cancelled; return why."""
        channel = session.channel
        while True:
            done, _ = await asyncio.wait({closing := channel.closing}, timeout=_WATCH)
            if done:
                return self._reason(closing)
            closing.cancel()
            if gone := self._sources.keys() - channel.consumers.keys():
                return f"RabbitMQ cancelled the consumers of {', '.join(sorted(gone))}"

    def _reason(self, closing: asyncio.Future[None]) -> str:
        error = None if closing.cancelled() else closing.exception()
        if isinstance(error, InvalidFrameError):
            self._tolerant = TolerantTransport(secure=self._settings.url.scheme == "amqps")
        return str(error or "the channel was closed")

    async def _let_go(self) -> None:
        self._drop()
        self._changed.clear()
        await self._subscription.on_revoke(tuple(self._sources.values()))
        if self._connection:
            await hang_up(self._connection, 2.0)

    def _on_end(self, keeper: asyncio.Task[None]) -> None:
        """Nobody watches any more: `fetch` has to say so."""
        if not self.closed and not self._failure:
            error = None if keeper.cancelled() else keeper.exception()
            failure = BrokerError(f"group {self._subscription.group}: the consumer stopped: {error!r}")
            failure.__cause__ = error
            self._drop()
            self._fail(failure)

    async def _try(self) -> None:
        try:
            await self._consume()
        except BrokerError as error:
            if isinstance(error, _PERMANENT) or isinstance(error.__cause__, REFUSED):
                self._fail(error)
            else:
                _log.warning("group %s: %s; trying again", self._subscription.group, error)
            if self._connection:
                await hang_up(self._connection, 2.0)

    def _fail(self, error: BrokerError) -> None:
        self._failure = error
        self._changed.set()
