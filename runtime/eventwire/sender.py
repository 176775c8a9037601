"""Publishing: what a publisher needs, and the publishers that generated code derives from."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from eventwire.batch import BatchReceipt
from eventwire.message import Receipt
from eventwire.topic import Topic

E = TypeVar("E")
E_contra = TypeVar("E_contra", contravariant=True)


class Sender(Protocol):
    """What publishers take: a Bus, a Context."""

    async def send(
        self,
        topic: Topic[E],
        event: E,
        *,
        headers: Mapping[str, str] | None = None,
        id: str | None = None,
    ) -> Receipt:
        """Publish one event. See `Publisher.publish`."""
        ...

    async def send_many(
        self,
        topic: Topic[E],
        events: Iterable[E] | AsyncIterable[E],
        *,
        headers: Mapping[str, str] | None = None,
        max_in_flight: int = 1000,
    ) -> BatchReceipt:
        """Publish many events. See `Publisher.publish_many`."""
        ...

    async def send_tombstone(self, topic: Topic[Any], key: str | bytes | int) -> Receipt:
        """Publish a tombstone to a compacted topic."""
        ...


class Publisher(Generic[E_contra]):
    """Base of generated publishers. Cheap to make, holds no state, may be used concurrently."""

    __slots__ = ("_sender", "_topic")

    def __init__(self, sender: Sender, topic: Topic[Any]) -> None:
        self._sender = sender
        self._topic = topic

    async def publish(
        self,
        event: E_contra,
        *,
        headers: Mapping[str, str] | None = None,
        id: str | None = None,
    ) -> Receipt:
        """Publish one event; return when the broker has confirmed it.

        `headers` are added to the message as they are. `id` overrides the event's id: give a failed publish's
        `error.id` to publish the same event again, so that readers can tell the two are one.

        Raises PublishFailed when the event is known not to be written (InvalidEvent, TooLarge, Unroutable among them)
        and PublishUnknown when nobody can tell, within the bus's `publish_timeout`. A cancelled publish is unknown too.
        """
        return await self._sender.send(self._topic, event, headers=headers, id=id)

    async def publish_many(
        self,
        events: Iterable[E_contra] | AsyncIterable[E_contra],
        *,
        headers: Mapping[str, str] | None = None,
        max_in_flight: int = 1000,
    ) -> BatchReceipt:
        """Publish many events in constant memory, at most `max_in_flight` of them unconfirmed at a time.

        Events of one key are written in the order given. Raises nothing for a single event: what was not confirmed is
        listed in the receipt with its error; the others are confirmed. What `events` itself raises is raised here, and
        what it gave before may be written.
        """
        return await self._sender.send_many(self._topic, events, headers=headers, max_in_flight=max_in_flight)

    async def _tombstone(self, key: str | bytes | int) -> Receipt:
        return await self._sender.send_tombstone(self._topic, key)
