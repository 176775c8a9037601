"""Policies as data: what a .proto declares and a consumer group may override."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Ordering(Enum):
    """The order that handlers may rely on."""

    PER_KEY = "per key"
    NONE = "none"


class RetryMode(Enum):
    """Where a failed event waits for its next attempt."""

    IN_PLACE = "in place"
    DELAYED = "delayed"


class UnknownEvents(Enum):
    """What a reader does with an event type that it does not know."""

    SKIP = "skip"
    DEAD_LETTER = "dead letter"
    FAIL = "fail"


class Unhandled(Enum):
    """What a worker does with an event type that its topic declares and no handler overrides."""

    SKIP = "skip"
    DEAD_LETTER = "dead letter"
    FAIL = "fail"


class OnExhausted(Enum):
    """What a worker does with an event that no attempt could handle when its dead letter is disabled."""

    STOP = "stop"
    DROP = "drop"


class OnDead(Enum):
    """What becomes of a key's next events after one was dead-lettered."""

    CONTINUE = "continue"
    """They are handled."""
    BLOCK_KEY = "block key"
    """They wait. The dead event stays unsettled at their head, and is tried again by whoever reads the partition next,
    after a restart for one. Once `max_uncommitted` events behind it are fetched, its whole partition waits."""


class WireFormat(Enum):
    """How an event is laid out in a broker's message."""

    CLOUDEVENTS = "cloudevents"
    CLOUDEVENTS_STRUCTURED = "cloudevents structured"
    PLAIN = "plain"
    CONFLUENT = "confluent"


class DataFormat(Enum):
    """How an event's data is encoded."""

    PROTOBUF = "protobuf"
    JSON = "json"


class Start(Enum):
    """Where a group that never read a topic begins."""

    EARLIEST = "earliest"
    LATEST = "latest"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed event is tried again. Waits are in seconds."""

    mode: RetryMode = RetryMode.IN_PLACE
    max_attempts: int = 5
    initial_backoff: float = 0.2
    max_backoff: float = 30.0
    backoff_multiplier: float = 2.0
    jitter: float = 0.2


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a worker stops trying, because the fault is not the events'. Waits are in seconds.

    It opens at once for a transient fault, and after `failures` failed attempts over at least `keys` keys with no
    success in between. While it is open nothing is begun; after the wait one attempt is made. If that succeeds all goes
    on, else the wait grows by `backoff_multiplier` up to `max_backoff`.
    """

    failures: int = 20
    keys: int = 5
    initial_backoff: float = 0.2
    max_backoff: float = 30.0
    backoff_multiplier: float = 2.0


@dataclass(frozen=True, slots=True)
class DeadLetterPolicy:
    """Where an event goes that no attempt could handle. `{topic}` and `{group}` are filled in."""

    topic: str = "{topic}.{group}.dead"
    disabled: bool = False
