"""Topics and events: the constants that generated modules hold and everything else looks things up in."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from eventwire.policy import DataFormat, DeadLetterPolicy, Ordering, RetryPolicy, UnknownEvents, WireFormat

M = TypeVar("M")
E_co = TypeVar("E_co", covariant=True)


class FieldKind(Enum):
    """The scalar types that a key or an id may have."""

    STRING = "string"
    BYTES = "bytes"
    INTEGER = "integer"
    ENUM = "enum"


@dataclass(frozen=True, slots=True)
class Codec(Generic[M]):
    """An event message's two functions. `decode` raises for bytes that are no such message."""

    encode: Callable[[M], bytes]
    decode: Callable[[bytes], M]


@dataclass(frozen=True, slots=True)
class FieldPath(Generic[M]):
    """A scalar field of an event.

    `path` is as in the .proto, `read` gives the value or None where the field, or a message on the way to it, is unset.
    """

    path: str
    kind: FieldKind
    read: Callable[[M], Any]


@dataclass(frozen=True, slots=True)
class HeaderField(Generic[M]):
    """A field that is copied into a header. `read` gives the header's text, or None for no header."""

    name: str
    path: str
    read: Callable[[M], str | None]


@dataclass(frozen=True, eq=False)
class Event(Generic[M]):
    """One event type of a topic.

    `type` is the CloudEvents type, `full_name` the Protobuf message's. `member` and `number` are the oneof member that
    holds it in the topic message; both are unset for a topic that is its own single event. `time` gives seconds since
    the Unix epoch. `redacted` are the paths of fields marked `debug_redact`. Compared by identity: looking
    one up costs nothing.
    """

    type: str
    full_name: str
    message: builtins.type[M]
    codec: Codec[M]
    handler: str
    """The handler method's name, for example `on_order_placed`."""
    member: str | None = None
    json_name: str | None = None
    number: int | None = None
    delimited: bool = False
    """The member is written as a group (editions: `message_encoding = DELIMITED`)."""
    key: FieldPath[M] | None = None
    id: FieldPath[M] | None = None
    subject: FieldPath[M] | None = None
    time: Callable[[M], float | None] | None = None
    headers: tuple[HeaderField[M], ...] = ()
    redacted: tuple[str, ...] = ()
    upcasts: tuple[str, ...] = ()

    def explain(self, error: Exception) -> str:
        """What a message library says is wrong; only its class where fields are redacted, for its text shows values."""
        return type(error).__name__ if self.redacted else str(error)

    def cause(self, error: Exception) -> Exception | None:
        """The error as a cause to chain; none where fields are redacted, for a traceback shows its text."""
        return None if self.redacted else error


@dataclass(frozen=True, eq=False)
class Topic(Generic[E_co]):
    """A topic as its .proto declares it; `E_co` is the union of its event messages.

    `retention` is in seconds, None for the broker's default. `package` is the Protobuf package. Compared by identity.
    """

    name: str
    full_name: str
    package: str
    events: tuple[Event[Any], ...]
    partitions: int = 1
    retention: float | None = None
    compact: bool = False
    ordering: Ordering = Ordering.NONE
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    dead_letter: DeadLetterPolicy = field(default_factory=DeadLetterPolicy)
    unknown_events: UnknownEvents = UnknownEvents.SKIP
    wire_format: WireFormat = WireFormat.CLOUDEVENTS
    data_format: DataFormat = DataFormat.PROTOBUF
    accept: tuple[WireFormat, ...] = ()
    broker: str = "default"
    external: bool = False
    replaces: str | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    samples: tuple[str, ...] = field(default=(), repr=False)

    @property
    def keyed(self) -> bool:
        """Whether every event carries a key."""
        return self.events[0].key is not None

    @property
    def envelope(self) -> bool:
        """Whether the topic message is a oneof around its events, rather than the event itself."""
        return self.events[0].member is not None

    @cached_property
    def by_number(self) -> Mapping[int | None, Event[Any]]:
        """The events by the number of the oneof member that holds them."""
        return MappingProxyType({event.number: event for event in self.events})

    @cached_property
    def by_message(self) -> Mapping[type[Any], Event[Any]]:
        """The events by message class."""
        return MappingProxyType({event.message: event for event in self.events})
