"""The transport of `memory://`: a broker within the process, private or shared by name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from eventwire.errors import CapabilityError, Closed, PublishError, UrlError
from eventwire.message import Message, Receipt
from eventwire.transport import DriverOptions, Features, Subscription, TopicSpec
from eventwire.transports.memory.broker import Broker
from eventwire.transports.memory.group import MemoryConsumer
from eventwire.transports.memory.inline import Errand
from eventwire.transports.memory.logs import PartitionLog
from eventwire.url import BrokerUrl

_MAX_BODY = 1 << 20
_MAX_BYTES = 64 << 20
_OPTIONS = ("inline", "max_body", "max_bytes")

_named: dict[str, Broker] = {}
"""Brokers with a name live as long as the process, as a server would."""


class MemoryTransport:
    """`memory://` has a broker of its own, `memory://name` shares one within the process.

    Options: `inline` (publish returns when every group acked, and raises the first handler's error: who pulls acks in
    another task than the one that publishes, or waits for himself until PublishUnknown), `max_body`
    (in bytes, as Kafka's message.max.bytes), `max_bytes` (of all messages together; a publish waits when unread
    ones fill it). Topics need no declaration. Inline, a nested publish is known by its `ce_causationid` header.
    """

    def __init__(self, url: BrokerUrl, options: DriverOptions) -> None:
        url.only(_OPTIONS, "the memory transport")
        if options.producer or options.consumer or options.admin:
            raise UrlError(f"{url}: the memory transport has no client that takes driver options")
        if len(url.hosts) > 1 or url.path or url.username:
            raise UrlError(f"{url}: a memory URL is `memory://` or `memory://name`")
        self._url = url
        self._broker = _broker(url)
        self._consumers: set[MemoryConsumer] = set()
        self._connected = False
        self._closed = False
        self.features = Features(
            transport="memory",
            durable=False,
            confirms=True,
            ack=True,
            groups=True,
            ordering=True,
            history=True,
            replay=True,
            processes=False,
            max_body=self._broker.max_body,
        )

    async def connect(self) -> None:
        """See Transport.connect. Raises CapabilityError when another event loop uses the named broker."""
        if self._connected:
            return
        loop = asyncio.get_running_loop()
        if self._broker.users and self._broker.loop is not loop:
            raise CapabilityError(
                f"{self._url} is in use in another event loop; sqlite:// can be shared between threads"
            )
        self._broker.loop = loop
        self._broker.users += 1
        self._connected = True

    async def declare(self, topics: Sequence[TopicSpec], groups: Sequence[str]) -> None:  # noqa: ARG002 groups need none
        """See Transport.declare."""
        for spec in topics:
            self._broker.topic(spec)

    async def check(self, topics: Sequence[TopicSpec], groups: Sequence[str]) -> None:  # noqa: ARG002 groups need none
        """See Transport.check: nothing can be missing; raises TopicMismatch."""
        for spec in topics:
            self._broker.check(spec)

    async def publish(self, topic: TopicSpec, message: Message) -> Receipt:
        """See Transport.publish. Inline it raises the first handler's error."""
        if self._closed:
            raise self._was_closed()
        broker = self._broker
        place = broker.publish(topic, message) or await broker.publish_in_turn(topic, message)
        if broker.inline is not None and (errand := self._errand(message, place)) is not None:
            await broker.inline.wait(errand)
        return broker.receipt(place, message)

    async def publish_many(
        self, topic: TopicSpec, messages: Sequence[Message]
    ) -> Sequence[Receipt | PublishError]:
        """See Transport.publish_many. Inline it raises the first handler's error, once all are handled."""
        if self._closed:
            raise self._was_closed()
        outcomes: list[Receipt | PublishError] = []
        errands: list[Errand] = []
        for message in messages:
            try:
                place = self._broker.publish(topic, message) or await self._broker.publish_in_turn(
                    topic, message
                )
            except PublishError as error:
                outcomes.append(error)
                continue
            outcomes.append(self._broker.receipt(place, message))
            if (errand := self._errand(message, place)) is not None:
                errands.append(errand)
        await self._handled(errands)
        return outcomes

    async def ping(self) -> None:
        """See Transport.ping: the broker is in this process."""
        if self._closed:
            raise self._was_closed()

    async def lag(self, topic: TopicSpec, group: str) -> int:
        """See Transport.lag."""
        if self._closed:
            raise self._was_closed()
        return self._broker.lag(topic, group)

    async def subscribe(self, subscription: Subscription) -> MemoryConsumer:
        """See Transport.subscribe."""
        if self._closed:
            raise self._was_closed()
        topics = [self._broker.topic(spec) for spec in subscription.topics]
        group = self._broker.group(subscription.group)
        consumer = MemoryConsumer(group, subscription)
        group.join(consumer, topics, subscription.start)
        self._consumers.add(consumer)
        return consumer

    async def close(self) -> None:
        """See Transport.close."""
        self._closed = True
        for consumer in self._consumers:
            await consumer.close()
        self._consumers.clear()
        if self._connected:
            self._connected = False
            self._broker.users -= 1

    def _errand(self, message: Message, place: tuple[PartitionLog, int]) -> Errand | None:
        if (inline := self._broker.inline) is None:
            return None
        log, offset = place
        return inline.begin(message, log.at, offset, self._broker.groups_of(log.at.topic))

    async def _handled(self, errands: Sequence[Errand]) -> None:
        if (inline := self._broker.inline) is None:
            return
        outcomes = await asyncio.gather(*map(inline.wait, errands), return_exceptions=True)
        for error in outcomes:
            if error is not None:
                raise error

    def _was_closed(self) -> Closed:
        return Closed(f"{self._url} was closed")


def _broker(url: BrokerUrl) -> Broker:
    max_body = int(url.number("max_body", _MAX_BODY, least=1))
    max_bytes = int(url.number("max_bytes", max(_MAX_BYTES, max_body), least=1))
    if max_bytes < max_body:
        raise UrlError(f"{url}: option `max_bytes` must be at least `max_body` ({max_body:,} unless set)")
    made = Broker(max_body=max_body, max_bytes=max_bytes, inline=url.boolean("inline", default=False))
    if not url.hosts:
        return made
    known = _named.setdefault(url.hosts[0].name, made)
    if known.settings != made.settings:
        raise UrlError(f"{url}: this broker is there already with other options; all its URLs must agree")
    return known
