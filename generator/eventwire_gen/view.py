"""The view model: all that a template sees. Plain frozen data, independent of the compiler's types.

Templates may rely on it within one `VERSION`: fields are added, never renamed or removed, without a new one.
"""

from __future__ import annotations

from dataclasses import dataclass

VERSION = 1


@dataclass(frozen=True, slots=True)
class PathView:
    """A field path of an event. `kind` is STRING, BYTES, INTEGER or ENUM."""

    path: str
    kind: str


@dataclass(frozen=True, slots=True)
class HeaderView:
    """A field that is copied into the header `name`."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class EventView:
    """One event type of a topic.

    `message` is the Python expression for its class, `constant` the generated name, `handler` the method's name.
    `member`, `json_name` and `number` are of the oneof member, unset for a topic that is its own event. `comment` has
    the lines of the message's leading comment.
    """

    type: str
    full_name: str
    message: str
    constant: str
    handler: str
    member: str | None
    json_name: str | None
    number: int | None
    delimited: bool
    key: PathView | None
    id: PathView | None
    subject: PathView | None
    time: str | None
    headers: tuple[HeaderView, ...]
    redacted: tuple[str, ...]
    upcasts: tuple[str, ...]
    deprecated: bool
    comment: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RetryView:
    """The retry options that were set; the rest are None. Waits in seconds."""

    mode: str | None = None
    max_attempts: int | None = None
    initial_backoff: float | None = None
    max_backoff: float | None = None
    backoff_multiplier: float | None = None
    jitter: float | None = None


@dataclass(frozen=True, slots=True)
class DeadLetterView:
    """The dead letter options that were set."""

    topic: str | None = None
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class TopicView:
    """One topic. Enum values have their short names: `PER_KEY` for ORDERING_PER_KEY. `retention` is in seconds."""

    name: str
    full_name: str
    package: str
    constant: str
    publisher: str
    handler: str
    sync_handler: str
    events: tuple[EventView, ...]
    envelope: bool
    partitions: int
    retention: float | None
    compact: bool
    ordering: str
    retry: RetryView
    dead_letter: DeadLetterView
    unknown_events: str
    wire_format: str
    data_format: str
    accept: tuple[str, ...]
    broker: str
    external: bool
    owner: str | None
    tags: tuple[str, ...]
    samples: tuple[str, ...]
    replaces: str | None
    deprecated: bool
    comment: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileView:
    """One .proto file with topics, as the generated module `module` sees it.

    `imports` are the statements that bring the event messages, `standard_imports` those of the standard library that
    they need; `messages` is the backend's name.
    """

    version: int
    source: str
    package: str
    module: str
    messages: str
    standard_imports: tuple[str, ...]
    imports: tuple[str, ...]
    topics: tuple[TopicView, ...]
