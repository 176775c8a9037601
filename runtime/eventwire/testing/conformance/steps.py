"""A topic as the generator would write it, with a codec that needs no protobuf, for the scenarios with a bus."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

from eventwire.context import Context
from eventwire.handler import Handler
from eventwire.policy import Ordering, RetryPolicy
from eventwire.topic import Codec, Event, FieldKind, FieldPath, Topic
from eventwire.transport import Features

S = TypeVar("S", bound="Step")


@dataclass(frozen=True, slots=True)
class Step:
    """The number of an event among those of its key."""

    key: str
    number: int


@dataclass(frozen=True, slots=True)
class Leap(Step):
    """An event type that only some readers know."""


Handle: TypeAlias = Callable[[Step, Context], Awaitable[None]]


def topic_of(name: str, features: Features, **changes: Any) -> Topic[Any]:
    """A topic of Step and Leap in two partitions, ordered where the transport can; three quick attempts."""
    return replace(
        Topic[Any](
            name=name,
            full_name=f"{name}.Steps",
            package="conformance.v1",
            events=(_event(Step, 1), _event(Leap, 2)),
            partitions=2,
            ordering=Ordering.PER_KEY if features.ordering else Ordering.NONE,
            retry=RetryPolicy(max_attempts=3, initial_backoff=0.01, max_backoff=0.02),
        ),
        **changes,
    )


def steps(count: int, *, keys: int = 1) -> list[Step]:
    """So many events over so many keys in turn, numbered from 0 per key."""
    return [Step(f"key-{n % keys}", n // keys) for n in range(count)]


def handler_of(topic: Topic[Any], handle: Callable[[Step, Context], Awaitable[None]]) -> Handler:
    """A handler of the topic's Steps, and of no other event."""

    class Generated(Handler, topic=topic):
        async def on_step(self, event: Step, context: Context) -> None:
            """As the generator writes it."""

        async def on_leap(self, event: Leap, context: Context) -> None:
            """As the generator writes it."""

    class Handles(Generated):
        async def on_step(self, event: Step, context: Context) -> None:
            await handle(event, context)

    return Handles()


class Diary:
    """What handlers saw, in order."""

    def __init__(self) -> None:
        self.seen: list[Step] = []
        self._changed = asyncio.Event()

    def note(self, step: Step) -> None:
        """Add one event."""
        self.seen.append(step)
        self._changed.set()

    async def reached(self, count: int) -> None:
        """Wait for so many different events."""
        while len(set(self.seen)) < count:
            self._changed.clear()
            await self._changed.wait()

    def by_key(self) -> dict[str, list[int]]:
        """Per key, the numbers in the order of their first arrival."""
        keyed: dict[str, list[int]] = {}
        for step in dict.fromkeys(self.seen):
            keyed.setdefault(step.key, []).append(step.number)
        return keyed


def _event(cls: type[S], number: int) -> Event[S]:
    name = cls.__name__.lower()
    return Event(
        type=f"conformance.v1.{cls.__name__}",
        full_name=f"conformance.v1.{cls.__name__}",
        message=cls,
        codec=Codec(_encode, lambda data: _decode(cls, data)),
        handler=f"on_{name}",
        member=name,
        json_name=name,
        number=number,
        key=FieldPath("key", FieldKind.STRING, lambda step: step.key),
    )


def _encode(step: Step) -> bytes:
    return f"{step.number} {step.key}".encode()


def _decode(cls: type[S], data: bytes) -> S:
    number, separator, key = data.decode().partition(" ")
    if not separator:
        raise ValueError(f"{data!r} is no {cls.__name__}")
    return cls(key, int(number))
