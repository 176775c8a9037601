"""What an adapter's test gives the suite, and what a scenario is given to work with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

from eventwire.errors import PublishError
from eventwire.message import Message, Receipt
from eventwire.policy import Start
from eventwire.testing.conformance.failure import Broken, within
from eventwire.testing.conformance.ledger import Ledger
from eventwire.transport import (
    Consumer,
    Delivery,
    DriverOptions,
    Features,
    Subscription,
    TopicPartition,
    TopicSpec,
    Transport,
    TransportFactory,
)
from eventwire.url import BrokerUrl


@dataclass(frozen=True, slots=True)
class Harness:
    """One broker, and how much of it the suite may use.

    Every transport made from `url` reaches the same broker, as other processes would. `restart` stops and starts the
    server, blocks until it is ready, and is called in a thread; None where that cannot be done. `scale` multiplies the
    number of messages and members, `deadline` (seconds) bounds each wait, `quiet` (seconds) is how long silence must
    last to count as nothing.
    """

    url: str
    factory: TransportFactory
    options: DriverOptions = field(default_factory=DriverOptions)
    restart: Callable[[], None] | None = None
    scale: float = 1.0
    deadline: float = 30.0
    quiet: float = 0.2

    def transport(self) -> Transport:
        """A transport that is not connected yet."""
        return self.factory(BrokerUrl.parse(self.url), self.options)

    @property
    def features(self) -> Features:
        """The transport's facts."""
        return self.transport().features

    @asynccontextmanager
    async def stage(self) -> AsyncGenerator[Stage]:
        """A connected transport with what scenarios need around it; all of it is closed at the end."""
        async with AsyncExitStack() as opened:
            stage = Stage(self, opened)
            await stage.connect()
            yield stage


class Stage:
    """One scenario's view of the broker: names nobody else uses, a deadline on every wait, all closed at the end."""

    def __init__(self, harness: Harness, opened: AsyncExitStack) -> None:
        self.harness = harness
        self.features = harness.features
        self._opened = opened
        self._transports: list[Transport] = []

    @property
    def transport(self) -> Transport:
        """The first transport that was connected."""
        return self._transports[0]

    async def connect(self) -> Transport:
        """Connect one more transport: to the broker it is another process."""
        transport = self.harness.transport()
        self._opened.push_async_callback(self.bounded, transport.close, "close() of the transport")
        await self.bounded(transport.connect, "connect()")
        self._transports.append(transport)
        return transport

    async def bounded(self, call: Callable[[], Awaitable[object]], what: str) -> None:
        """Await the call within the deadline."""
        async with within(self.harness.deadline, lambda: what):
            await call()

    def count(self, full: int, least: int = 1) -> int:
        """`full` at this harness's scale, not below `least`."""
        return max(least, round(full * self.harness.scale))

    def group(self) -> str:
        """A group name that nobody else uses."""
        return f"g-{uuid4().hex[:12]}"

    def spec(
        self, *, partitions: int = 1, ordered: bool = True, queue: bool = False, external: bool = False
    ) -> TopicSpec:
        """An undeclared topic of a name that nobody else uses; `ordered` as far as the transport has order."""
        name = f"conformance.{uuid4().hex[:12]}.v1"
        ordered = ordered and self.features.ordering and not queue
        return TopicSpec(name, partitions=partitions, ordered=ordered, queue=queue, external=external)

    async def topic(
        self, *groups: str, partitions: int = 1, ordered: bool = True, queue: bool = False
    ) -> TopicSpec:
        """A new topic, declared for these groups."""
        topic = self.spec(partitions=partitions, ordered=ordered, queue=queue)
        await self.bounded(lambda: self.transport.declare([topic], groups), "declare()")
        return topic

    async def subscribe(
        self,
        *topics: TopicSpec,
        group: str,
        transport: Transport | None = None,
        start: Start = Start.EARLIEST,
        max_uncommitted: int = 1000,
        on_revoke: Callable[[Collection[TopicPartition]], Awaitable[None]] | None = None,
    ) -> Consumer:
        """Join the group, on the first transport unless another one is given."""
        subscription = Subscription(group, topics, start, max_uncommitted)
        if on_revoke:
            subscription = Subscription(group, topics, start, max_uncommitted, on_revoke=on_revoke)
        async with within(self.harness.deadline, lambda: "subscribe()"):
            consumer = await (transport or self.transport).subscribe(subscription)
        self._opened.push_async_callback(self.bounded, consumer.close, "close() of a consumer")
        return consumer

    async def publish(
        self, topic: TopicSpec, messages: Sequence[Message], transport: Transport | None = None
    ) -> list[Receipt]:
        """Publish them as one batch; all must be confirmed."""
        async with within(self.harness.deadline, lambda: f"outcomes of {len(messages)} publishes"):
            outcomes = await (transport or self.transport).publish_many(topic, messages)
        if len(outcomes) != len(messages):
            raise Broken(f"publish_many gave {len(outcomes)} outcomes for {len(messages)} messages")
        for outcome in outcomes:
            if isinstance(outcome, PublishError):
                raise outcome
        return [outcome for outcome in outcomes if isinstance(outcome, Receipt)]

    async def take(self, consumer: Consumer, count: int) -> list[Delivery]:
        """So many deliveries, settled in no way."""
        taken: list[Delivery] = []
        async with within(self.harness.deadline, lambda: f"{count - len(taken)} of {count} deliveries"):
            while len(taken) < count:
                batch = await consumer.fetch(count - len(taken))
                if not 0 < len(batch) <= count - len(taken):
                    raise Broken(f"fetch({count - len(taken)}) gave {len(batch)} deliveries")
                taken.extend(batch)
        return taken

    async def silent(self, consumer: Consumer, why: str) -> None:
        """Nothing is delivered for a while."""
        try:
            async with asyncio.timeout(self.harness.quiet):
                extra = await consumer.fetch(1)
        except TimeoutError:
            return
        raise Broken(f"{extra[0].message!r} was delivered, though {why}")

    @asynccontextmanager
    async def reading(self, ledger: Ledger, *consumers: Consumer) -> AsyncGenerator[None]:
        """Note and ack in the background what these consumers fetch."""
        pumps = [asyncio.create_task(ledger.pump(consumer)) for consumer in consumers]
        try:
            yield
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def collect(
        self, consumers: Sequence[Consumer], expected: Sequence[Message], *, maybe: Sequence[Message] = ()
    ) -> Ledger:
        """Read until everything expected has arrived; besides `maybe`, nothing else may arrive meanwhile."""
        ledger = Ledger(expected)
        async with self.reading(ledger, *consumers), within(self.harness.deadline, ledger.missing):
            await ledger.complete()
        if foreign := ledger.foreign() - set(bodies(maybe)):
            raise Broken(f"nobody published {sorted(foreign)[:5]} here")
        return ledger


def messages(topic: TopicSpec, count: int, *, keys: int = 1, label: str = "m") -> list[Message]:
    """So many messages with distinct bodies, over so many keys in turn."""
    return [
        Message(
            topic=topic.name,
            body=f"{label}-{n:05}".encode(),
            key=f"key-{n % keys}".encode(),
            headers=(("number", str(n).encode()),),
            content_type="application/octet-stream",
            id=str(uuid4()),
        )
        for n in range(count)
    ]


def bodies(source: Iterable[Message] | Iterable[Delivery]) -> list[bytes]:
    """The bodies of messages or of deliveries."""
    found = (each if isinstance(each, Message) else each.message for each in source)
    return [message.body or b"" for message in found]
