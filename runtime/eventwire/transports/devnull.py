"""`devnull://`: drops every message, and says so each time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Never

from eventwire.errors import Closed, PublishError, UrlError
from eventwire.message import Message, Receipt
from eventwire.transport import ConsumerHealth, DriverOptions, Features, Subscription, TopicSpec
from eventwire.url import BrokerUrl

logger = logging.getLogger("eventwire.devnull")

_FEATURES = Features(
    transport="devnull",
    durable=True,
    confirms=True,
    ack=True,
    groups=True,
    ordering=True,
    history=True,
    replay=True,
    processes=True,
    vacuous=True,
)


class DevnullTransport:
    """For load tests of publishers, and for switching a service's events off by configuration; never a default."""

    features = _FEATURES

    def __init__(self, url: BrokerUrl, options: DriverOptions) -> None:
        url.only((), "the devnull transport")
        if options.producer or options.consumer or options.admin:
            raise UrlError(f"{url}: the devnull transport has no client that takes driver options")
        if url.hosts or url.path or url.username:
            raise UrlError(f"{url}: a devnull URL is `devnull://`")
        self._consumers: list[DevnullConsumer] = []
        self._closed = False

    async def connect(self) -> None:
        """See Transport.connect."""
        logger.warning("devnull:// drops every message that is published")

    async def declare(self, topics: Sequence[TopicSpec], groups: Sequence[str]) -> None:
        """See Transport.declare."""

    async def check(self, topics: Sequence[TopicSpec], groups: Sequence[str]) -> None:
        """See Transport.check."""

    async def publish(self, topic: TopicSpec, message: Message) -> Receipt:
        """Drop the message, with a warning."""
        self._check_open()
        logger.warning("devnull:// dropped message %s of topic %s", message.id or "(no id)", topic.name)
        return Receipt(topic.name, message.id)

    async def publish_many(
        self, topic: TopicSpec, messages: Sequence[Message]
    ) -> Sequence[Receipt | PublishError]:
        """Drop the messages, with a warning for each."""
        return [await self.publish(topic, message) for message in messages]

    async def ping(self) -> None:
        """See Transport.ping: nobody has to answer."""
        self._check_open()

    async def lag(self, topic: TopicSpec, group: str) -> int:  # noqa: ARG002 the protocol's
        """See Transport.lag: nothing waits."""
        return 0

    async def subscribe(self, subscription: Subscription) -> DevnullConsumer:
        """See Transport.subscribe: nothing will ever come."""
        self._check_open()
        logger.warning("devnull:// delivers nothing to group %s", subscription.group)
        consumer = DevnullConsumer()
        self._consumers.append(consumer)
        return consumer

    async def close(self) -> None:
        """See Transport.close."""
        self._closed = True
        for consumer in self._consumers:
            await consumer.close()

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("devnull:// was closed")


class DevnullConsumer:
    """Waits for ever."""

    def __init__(self) -> None:
        self._closed = asyncio.Event()

    async def fetch(self, limit: int) -> Sequence[Never]:  # noqa: ARG002 the protocol's
        """Wait until `close`, which raises Closed here."""
        await self._closed.wait()
        raise Closed("this consumer of devnull:// is closed")

    async def flush(self) -> None:
        """See Consumer.flush."""

    def health(self) -> ConsumerHealth:
        """See Consumer.health: always well."""
        return ConsumerHealth(connected=True, heartbeat=0.0, lag=0)

    async def close(self) -> None:
        """See Consumer.close."""
        self._closed.set()
