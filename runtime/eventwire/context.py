"""The context of one delivery: what is known of the event, and a sender that inherits from it."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from eventwire.batch import BatchReceipt
from eventwire.blocking import BlockingPublisher
from eventwire.errors import HandlerError
from eventwire.message import Headers, Message, Receipt
from eventwire.sender import Publisher, Sender
from eventwire.topic import Topic
from eventwire.wire.attributes import CAUSATION, CORRELATION

if TYPE_CHECKING:
    from eventwire.transport import Delivery
    from eventwire.wire.reader import Incoming

E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")


class Sleeper(Protocol):
    """What waits on behalf of a delivery."""

    async def sleep(self, seconds: float) -> None:
        """Wait, letting other deliveries be handled; end as cancelled when this one must be given back."""
        ...

    async def wait(self, awaited: Awaitable[object]) -> None:
        """Wait, letting no other delivery be handled instead; end as cancelled when this one must be given back."""
        ...


class Origin(Protocol):
    """What publishes on behalf of a delivery: the bus."""

    async def publish(
        self,
        topic: Topic[E],
        event: E,
        *,
        headers: Mapping[str, str] | None,
        id: str | None,
        cause: Context | None,
    ) -> Receipt:
        """Publish one event, as caused by the one of `cause`."""
        ...

    async def publish_many(
        self,
        topic: Topic[E],
        events: Iterable[E] | AsyncIterable[E],
        *,
        headers: Mapping[str, str] | None,
        max_in_flight: int,
        cause: Context | None,
    ) -> BatchReceipt:
        """Publish many events, as caused by the one of `cause`."""
        ...

    async def publish_tombstone(
        self, topic: Topic[Any], key: str | bytes | int, *, cause: Context | None
    ) -> Receipt:
        """Publish a tombstone, as caused by the event of `cause`."""
        ...


class Context:
    """One delivery of an event to a consumer group, as handlers and middleware see it.

    A sender too: what is published through it inherits correlation and causation, and the headers that the bus carries
    on (`session_headers`). Lives for one delivery; not for keeping.
    """

    __slots__ = (
        "_incoming",
        "_loop",
        "_origin",
        "_sleeper",
        "around",
        "attempt",
        "delivery",
        "duplicate",
        "event",
        "failure",
        "group",
        "postponed",
        "resources",
        "topic",
    )

    def __init__(
        self, origin: Origin, topic: Topic[Any], group: str, delivery: Delivery, sleeper: Sleeper
    ) -> None:
        self._origin = origin
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sleeper = sleeper
        self._incoming: Incoming | None = None
        self.topic = topic
        self.group = group
        self.delivery = delivery
        self.attempt = delivery.deaths + 1
        """1 for the first attempt, more for a retry: in this process, after a process died of it, or delayed."""
        self.event: Any = None
        """The event, once it was parsed."""
        self.failure: Exception | None = None
        """Why the event was set aside (dead letter or drop), when it was."""
        self.postponed = False
        """Whether it failed and waits elsewhere for its next attempt."""
        self.duplicate = False
        """The inbox knew the event as handled, so no handler was called."""
        self.around: Callable[[Callable[[], None]], None] | None = None
        """What runs a synchronous handler in its thread, when it is not called directly: an inbox's transaction."""
        self.resources: dict[type, object] | None = None
        """What `resource` gives, by type."""

    def for_attempt(self) -> Context:
        """The same delivery with resources of its own: a thread that was given up keeps those of its attempt."""
        attempt = copy.copy(self)
        attempt.resources, attempt.around = dict(self.resources or {}), None
        return attempt

    def provide(self, kind: type[T], value: T) -> None:
        """Let the handler have it, as `resource(kind)`."""
        self.resources = {**(self.resources or {}), kind: value}

    def resource(self, kind: type[T]) -> T:
        """What was provided for this attempt: with a SQL inbox, the transaction's AsyncSession or Session.

        Raises HandlerError when nothing of that type was.
        """
        found = (self.resources or {}).get(kind)
        if not isinstance(found, kind):
            has = ", ".join(known.__name__ for known in self.resources or ()) or "nothing"
            raise HandlerError(
                f"no {kind.__name__} was provided to this handler ({has} was): an AsyncSession comes from "
                "`Worker(..., inbox=SqlInbox(async_engine))`, a Session from `SqlInbox(engine)`, other resources from "
                "middleware that calls `context.provide`"
            )
        return found

    def read(self, incoming: Incoming) -> None:
        """Note what the message was told to be."""
        self._incoming = incoming

    def parse(self) -> None:
        """Parse the event, anew for each attempt: the last one may have changed it. Raises Undecodable."""
        if self._incoming is not None and self._incoming.data is not None:
            self.event = self._incoming.decode()

    @property
    def incoming(self) -> Incoming:
        """What the message was told to be. Raises RuntimeError before it was read."""
        if self._incoming is None:
            raise RuntimeError("the message was not read yet")
        return self._incoming

    async def sleep(self, seconds: float) -> None:
        """Wait, letting others be handled; when the worker stops, end as cancelled, the delivery given back."""
        await self._sleeper.sleep(seconds)

    async def wait(self, awaited: Awaitable[object]) -> None:
        """Wait, letting no other be handled instead; when the worker stops, end as cancelled."""
        await self._sleeper.wait(awaited)

    @property
    def message(self) -> Message:
        """The broker's message, byte for byte."""
        return self.delivery.message

    @property
    def headers(self) -> Headers:
        """The message's headers as the broker has them, CloudEvents attributes included."""
        return self.delivery.message.headers

    def header(self, name: str) -> str | None:
        """The last header of that name as text, or None."""
        value = self.delivery.message.header(name)
        return None if value is None else value.decode(errors="replace")

    def attribute(self, name: str) -> str | None:
        """A CloudEvents attribute without its prefix (`time`, `subject`, an extension), or None."""
        value = self._incoming.attribute(name) if self._incoming else None
        return None if value is None else value.decode(errors="replace")

    @property
    def id(self) -> str:
        """The event's id; empty for a PLAIN message, which carries none."""
        return self.attribute("id") or ""

    @property
    def type(self) -> str:
        """The CloudEvents type; for a PLAIN message, of the event that was found in it."""
        return self.attribute("type") or self.incoming.event.type

    @property
    def source(self) -> str:
        """The CloudEvents source; empty for a PLAIN message."""
        return self.attribute("source") or ""

    @property
    def time(self) -> datetime | None:
        """When the event occurred, if the message tells it legibly."""
        try:
            return datetime.fromisoformat(self.attribute("time") or "")
        except ValueError:
            return None

    @property
    def key(self) -> bytes | None:
        """The ordering and partition key."""
        return self.delivery.message.key

    @property
    def partition(self) -> int:
        """The partition it was read from; 0 where the broker has none."""
        return self.delivery.partition

    @property
    def offset(self) -> int | None:
        """Its place in the partition; None where the broker has none."""
        return self.delivery.offset

    @property
    def redelivered(self) -> bool:
        """Whether the broker delivered it before, as far as it can tell."""
        return self.delivery.attempt > 1

    @property
    def correlation_id(self) -> str:
        """The id of the event that everything began with: this one's own when it was the first."""
        return self.attribute(CORRELATION) or self.id

    @property
    def causation_id(self) -> str | None:
        """The id of the event whose handling published this one, or None."""
        return self.attribute(CAUSATION)

    def __repr__(self) -> str:
        place = f"{self.topic.name} partition {self.partition} offset {self.offset}"
        return f"<Context {self.id or 'without id'} of {place}, group {self.group}, attempt {self.attempt}>"

    def hand_to_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let `blocking` be used: the handler runs in a thread, the bus in `loop`."""
        self._loop = loop

    def blocking(self, publisher: Callable[[Sender], Publisher[E]]) -> BlockingPublisher[E]:
        """A publisher for a synchronous handler: `context.blocking(OrdersPublisher).publish(event)`.

        What it publishes inherits from this event. For the handler's own thread; raises HandlerError elsewhere.
        """
        return BlockingPublisher(self._run, publisher(self))

    def _run(self, work: Coroutine[Any, Any, R]) -> R:
        if self._loop is None:
            work.close()
            raise HandlerError(
                "context.blocking() is for sync handlers: await the publisher itself in an async one"
            )
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def send(
        self,
        topic: Topic[E],
        event: E,
        *,
        headers: Mapping[str, str] | None = None,
        id: str | None = None,
    ) -> Receipt:
        """Publish an event caused by this one."""
        return await self._origin.publish(topic, event, headers=headers, id=id, cause=self)

    async def send_many(
        self,
        topic: Topic[E],
        events: Iterable[E] | AsyncIterable[E],
        *,
        headers: Mapping[str, str] | None = None,
        max_in_flight: int = 1000,
    ) -> BatchReceipt:
        """Publish many events caused by this one."""
        return await self._origin.publish_many(
            topic, events, headers=headers, max_in_flight=max_in_flight, cause=self
        )

    async def send_tombstone(self, topic: Topic[Any], key: str | bytes | int) -> Receipt:
        """Publish a tombstone caused by this event."""
        return await self._origin.publish_tombstone(topic, key, cause=self)
