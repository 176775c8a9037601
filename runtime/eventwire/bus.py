"""The bus: the brokers an application talks to, and publishing to their topics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

from eventwire.batch import BatchReceipt
from eventwire.blocking import BlockingBus
from eventwire.context import Context
from eventwire.deadline import Deadlines
from eventwire.errors import Closed, ConfigurationError, EventwireError, PublishError
from eventwire.group import Policies, own_topics
from eventwire.health import BrokerHealth
from eventwire.links import make_transport
from eventwire.message import Message, Receipt
from eventwire.middleware.base import Middleware, checked
from eventwire.policy import Start
from eventwire.pull import Pull
from eventwire.route import Channel, Route, Validator, require_order, spec_of
from eventwire.topic import Topic
from eventwire.transport import DriverOptions, Subscription, TopicSpec, Transport
from eventwire.url import BrokerUrl
from eventwire.wire.attributes import CAUSATION, CORRELATION, REQUIRED

_log = logging.getLogger("eventwire.bus")
E = TypeVar("E")
_OWN = (*REQUIRED, "time", "subject", "dataschema", "datacontenttype", CORRELATION, CAUSATION)


class Bus:
    """One broker, or several by name, for one event loop.

    `url` is a broker URL, or URLs by broker name with one named `default`; a topic's `broker` option picks one. No I/O
    happens before `async with bus` or `start()`. All methods may be called concurrently.

    `declare`: create missing topics on first use; without it a missing topic is an error. `service`: the CloudEvents
    `source` of what is published, by default the topic's package. `validate`: raises for an event that must not be
    published or handled. `session_headers`: names of headers and CloudEvents attributes that handlers' publishes carry
    on. `publish_timeout`: seconds until an unconfirmed publish is PublishUnknown. `producer`, `consumer`, `admin`:
    options for the client library as they are. Raises ConfigurationError.
    """

    def __init__(
        self,
        url: str | Mapping[str, str],
        *,
        declare: bool = False,
        service: str | None = None,
        validate: Validator | None = None,
        middleware: Sequence[Middleware] = (),
        session_headers: Iterable[str] = (),
        publish_timeout: float = 30.0,
        producer: Mapping[str, Any] | None = None,
        consumer: Mapping[str, Any] | None = None,
        admin: Mapping[str, Any] | None = None,
    ) -> None:
        urls = {"default": url} if isinstance(url, str) else dict(url)
        if "default" not in urls:
            raise ConfigurationError(
                f"a bus needs a broker named `default`; it has {', '.join(urls) or 'none'}"
            )
        session = tuple(session_headers)
        if taken := [name for name in session if name in _OWN]:
            raise ConfigurationError(
                f"session_headers: {', '.join(taken)} are each event's own and not carried on"
            )
        options = DriverOptions(producer or {}, consumer or {}, admin or {})
        self._urls = {name: str(BrokerUrl.parse(text)) for name, text in urls.items()}
        self._shown = ", ".join(f"{name}={text}" for name, text in self._urls.items())
        self._transports = {name: make_transport(text, options) for name, text in urls.items()}
        self._declare = declare
        self._service = service
        self.validate = validate
        self._middleware = checked(middleware, "on_publish")
        self._session_headers = session
        self._deadlines = Deadlines(publish_timeout)
        self._routes: dict[Topic[Any], Route] = {}
        self._writers: dict[Topic[Any], Route] = {}
        self._topics: dict[tuple[str, str], Topic[Any]] = {}
        self._opening = asyncio.Lock()
        self._open: AsyncExitStack | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Bus {self._shown}{'' if self.started else ', not started'}>"

    @property
    def brokers(self) -> str:
        """The broker URLs by name, to be shown: without passwords."""
        return self._shown

    # --- life

    async def start(self) -> None:
        """Connect every broker. Does nothing when connected. Raises Unreachable within each URL's `connect_timeout`."""
        async with self._opening:
            if self._closed:
                raise Closed("the bus was closed: make a new one")
            if self._open is not None:
                return
            async with AsyncExitStack() as stack:
                for transport in self._transports.values():
                    stack.push_async_callback(transport.close)
                    await transport.connect()
                if self._closed:
                    raise Closed("the bus was closed while it connected")
                self._open = stack.pop_all()

    async def close(self) -> None:
        """Flush and disconnect, also when a broker is gone: bounded by about 5 seconds each. Idempotent."""
        self._closed = True
        self._routes.clear()
        if self._open is not None:
            stack, self._open = self._open, None
            await stack.aclose()

    @property
    def started(self) -> bool:
        """Whether the bus is connected."""
        return self._open is not None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def health(self, *, within: float = 5.0) -> tuple[BrokerHealth, ...]:
        """Ask every broker for an answer now, for at most so many seconds. Raises Closed unless it is started."""
        self._require_started()
        asked = (self._ask(name, transport, within) for name, transport in self._transports.items())
        return tuple(await asyncio.gather(*asked))

    async def _ask(self, name: str, transport: Transport, within: float) -> BrokerHealth:
        loop = asyncio.get_running_loop()
        began = loop.time()
        error: str | None = None
        try:
            async with asyncio.timeout(within):
                await transport.ping()
        except TimeoutError:
            error = f"no answer within {within:g} s"
        except EventwireError as failed:
            error = str(failed)
        return BrokerHealth(name, self._urls[name], error is None, loop.time() - began, error)

    # --- publishing

    async def send(
        self,
        topic: Topic[E],
        event: E,
        *,
        headers: Mapping[str, str] | None = None,
        id: str | None = None,
    ) -> Receipt:
        """Publish one event. See `Publisher.publish`."""
        return await self.publish(topic, event, headers=headers, id=id)

    async def send_many(
        self,
        topic: Topic[E],
        events: Iterable[E] | AsyncIterable[E],
        *,
        headers: Mapping[str, str] | None = None,
        max_in_flight: int = 1000,
    ) -> BatchReceipt:
        """Publish many events. See `Publisher.publish_many`."""
        return await self.publish_many(topic, events, headers=headers, max_in_flight=max_in_flight)

    async def send_tombstone(self, topic: Topic[Any], key: str | bytes | int) -> Receipt:
        """Publish a tombstone to a compacted topic."""
        return await self.publish_tombstone(topic, key)

    async def publish(
        self,
        topic: Topic[E],
        event: E,
        *,
        headers: Mapping[str, str] | None = None,
        id: str | None = None,
        cause: Context | None = None,
    ) -> Receipt:
        """Publish one event, as caused by the one of `cause`. See `Publisher.publish`."""
        route = self._routes.get(topic) or await self.route(topic)
        return await route.publish(route.write(event, headers, id, cause))

    async def publish_many(
        self,
        topic: Topic[E],
        events: Iterable[E] | AsyncIterable[E],
        *,
        headers: Mapping[str, str] | None = None,
        max_in_flight: int = 1000,
        cause: Context | None = None,
    ) -> BatchReceipt:
        """Publish many events, as caused by the one of `cause`. See `Publisher.publish_many`."""
        if max_in_flight < 1:
            raise ValueError("max_in_flight is 1 or more")
        route = await self.route(topic)
        total = 0
        failures: list[PublishError] = []
        async for chunk in _chunks(events, max_in_flight):
            written: dict[int, Message] = {}
            for index, event in enumerate(chunk, total):
                try:
                    written[index] = route.write(event, headers, None, cause)
                except PublishError as error:
                    failures.append(error.at(index))
            outcomes = await route.publish_many(tuple(written.values()))
            for index, outcome in zip(written, outcomes, strict=True):
                if isinstance(outcome, PublishError):
                    failures.append(outcome.at(index))
            total += len(chunk)
        if failures:
            _log.warning(
                "%s: %d of %d events not confirmed; the first: %s",
                topic.name,
                len(failures),
                total,
                failures[0],
            )
        return BatchReceipt(total - len(failures), tuple(failures))

    async def publish_tombstone(
        self, topic: Topic[Any], key: str | bytes | int, *, cause: Context | None = None
    ) -> Receipt:
        """Publish a tombstone: the broker forgets the key's last event. Raises PublishError."""
        route = await self.route(topic)
        return await route.publish(route.tombstone(key, cause))

    # --- messages that are written now and published later (outbox)

    def writer(self, topic: Topic[Any]) -> Route:
        """What writes a topic's messages as publishing would: id, time, key, headers and body are final.

        Does no I/O and needs no started bus; may be called from any thread. Raises CapabilityError for a topic that its
        broker cannot carry, and ConfigurationError.
        """
        if (known := self._writers.get(topic)) is not None:
            return known
        route = Route(
            topic,
            self.transport(topic),
            middleware=self._middleware,
            service=self._service,
            validate=self.validate,
            deadlines=self._deadlines,
            session_headers=self._session_headers,
        )
        self.adopt(topic)
        return self._writers.setdefault(topic, route)

    async def channel(self, broker: str, spec: TopicSpec) -> Channel:
        """The way for finished messages to a topic of the broker of that name.

        Raises TopicMissing, BrokerError, and ConfigurationError for a broker that the bus does not have.
        """
        self._require_started()
        transport = self._transport(broker, spec.name)
        await self._provide(transport, [spec], [])
        return Channel(spec, transport, middleware=self._middleware, deadlines=self._deadlines)

    # --- topics

    async def declare(self, *topics: Topic[Any], groups: Sequence[str] = ()) -> None:
        """Create what is missing of topics and of the groups' queues, their dead letters and retries among them.

        A group whose worker overrides `retry` or `dead_letter` has other ones: such a worker declares them itself, with
        `Bus(declare=True)`. Idempotent. Raises TopicMismatch.
        """
        self._require_started()
        for topic in topics:
            self.adopt(topic)
            await self.transport(topic).declare([spec_of(topic)], groups)
            own = [spec for group in groups for spec in own_topics(topic, Policies(group)).all]
            await self.transport(topic).declare(own, ())

    async def join(self, topic: Topic[Any], group: str, own: Sequence[TopicSpec]) -> Transport:
        """Make sure that a group can read a topic, and has its own topics for it; the transport to read it from.

        Raises CapabilityError, TopicMissing, ConfigurationError.
        """
        transport = self.transport(topic)
        require_order(topic, transport.features)
        await self._prepare(topic, [group])
        await self._provide(transport, own, [])
        return transport

    async def _prepare(self, topic: Topic[Any], groups: Sequence[str]) -> None:
        self._require_started()
        self.adopt(topic)
        await self._provide(self.transport(topic), [spec_of(topic)], groups)

    async def _provide(self, transport: Transport, specs: Sequence[TopicSpec], groups: Sequence[str]) -> None:
        """Declare topics when the bus was made with `declare`, else check that they exist."""
        await (transport.declare(specs, groups) if self._declare else transport.check(specs, groups))

    def transport(self, topic: Topic[Any]) -> Transport:
        """The transport that carries a topic. Raises ConfigurationError for a broker that the bus does not have."""
        return self._transport(topic.broker, topic.name)

    def _transport(self, broker: str, topic: str) -> Transport:
        found = self._transports.get(broker)
        if found is None:
            raise ConfigurationError(
                f"topic {topic} is on broker `{broker}`; this bus has {', '.join(self._transports)}"
            )
        return found

    def adopt(self, topic: Topic[Any]) -> None:
        """Take note of a topic. Raises ConfigurationError when another topic has its name."""
        known = self._topics.setdefault((topic.broker, topic.name), topic)
        if known is not topic:
            raise ConfigurationError(
                f"{known.full_name} and {topic.full_name} are both named {topic.name} on broker `{topic.broker}`: "
                "one of them is an older copy, or needs another name"
            )

    async def route(self, topic: Topic[Any]) -> Route:
        """The way to publish to a topic; the first call finds out whether the topic is there."""
        self._require_started()
        if (known := self._routes.get(topic)) is not None:
            return known
        route = self.writer(topic)
        await self._prepare(topic, [])
        return self._routes.setdefault(topic, route)

    def _require_started(self) -> None:
        if self._open is None:
            raise Closed(
                "the bus is closed" if self._closed else "the bus is not started: use `async with bus:`"
            )

    # --- other ways to use it

    @asynccontextmanager
    async def subscribe(
        self, topic: Topic[E], *, group: str, start: Start = Start.EARLIEST, max_uncommitted: int = 1000
    ) -> AsyncGenerator[Pull[E]]:
        """Read a topic by pulling: `async with bus.subscribe(ORDERS, group="audit") as deliveries: async for ...`.

        At the end of the block the group is left, and what is unsettled is given back.
        """
        policies = Policies(group)
        own = own_topics(topic, policies)
        transport = await self.join(topic, group, own.all)
        consumer = await transport.subscribe(
            Subscription(group, (spec_of(topic), *own.read), start=start, max_uncommitted=max_uncommitted)
        )
        try:
            yield Pull(self, topic, transport, consumer, policies=policies, validate=self.validate)
        finally:
            await consumer.close()

    def blocking(self) -> BlockingBus:
        """For synchronous code: `with bus.blocking() as blocking: ...`, whose loop runs in a thread of its own."""
        return BlockingBus(self)


async def _chunks(events: Iterable[E] | AsyncIterable[E], size: int) -> AsyncIterable[list[E]]:
    if isinstance(events, AsyncIterable):
        chunk: list[E] = []
        async for event in events:
            chunk.append(event)
            if len(chunk) == size:
                yield chunk
                chunk = []
        if chunk:
            yield chunk
    else:
        iterator = iter(events)
        while chunk := list(islice(iterator, size)):
            yield chunk
