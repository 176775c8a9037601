"""What a broker must be to carry events: the two protocols a transport implements, and the facts it states.

A transport knows bytes, keys, headers and acks; nothing of events, retries, dead letters, tracing or metrics.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from eventwire.errors import PublishError
from eventwire.message import Message, Receipt
from eventwire.policy import Start
from eventwire.url import BrokerUrl


@dataclass(frozen=True, slots=True)
class Features:
    """Flat facts about a transport. Conformance tests run by them, workers refuse by them, the README prints them."""

    transport: str
    durable: bool
    """A confirmed message survives the end of every process, the broker's included."""
    confirms: bool
    """`publish` returns only when the broker has the message."""
    ack: bool
    """A delivery that was not acked is delivered again."""
    groups: bool
    """Several consumer groups each receive every message."""
    ordering: bool
    """Messages of one key reach a group in the order they were published."""
    history: bool
    """A group that starts later reads what was published before it."""
    replay: bool
    """A group can go back to what it has read."""
    processes: bool
    """Several processes can share one broker."""
    headers: bool = True
    max_headers: int | None = None
    """How many headers a message may carry; None for no limit."""
    max_header_bytes: int | None = None
    """Names and values of all headers together, in bytes; None for no limit."""
    max_body: int | None = None
    """The body's limit in bytes, as far as the client knows it; None when only the broker knows."""
    max_key: int | None = None
    """The key's limit in bytes."""
    attribute_prefix: str = "ce_"
    """What CloudEvents attributes are prefixed with as headers in binary mode."""
    attribute_prefixes: tuple[str, ...] = ("ce_",)
    """The prefixes that are understood when reading."""
    transactions: bool = False
    """What a handler publishes and its delivery's settlement can happen together or not at all
    (`Subscription.transactional`)."""
    vacuous: bool = False
    """Claims hold because nothing is ever delivered (devnull)."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a transport needs to know of a topic. `retention` is in seconds.

    `name` is the name that messages carry; a transport with a narrower alphabet maps it to its own names, injectively.

    `queue` marks a topic that one anonymous group owns and that keeps messages until they are read, though no group
    subscribed yet: dead letters, a group's retries. `delay`, of a queue only: seconds that every message waits between
    its publishing and its delivery. A transport whose broker can wait does so; with the others the worker waits.
    """

    name: str
    partitions: int = 1
    ordered: bool = False
    retention: float | None = None
    compact: bool = False
    external: bool = False
    queue: bool = False
    delay: float = 0.0


class TopicPartition(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int


async def _keep(_: Collection[TopicPartition]) -> None:
    """Nothing to drain."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A group's reading of some topics.

    `max_uncommitted` bounds, per partition, the span from the lowest unsettled to the highest fetched message.
    `commit_interval` is in seconds: acks are settled at the broker at least that often. The consumer awaits
    `on_revoke` before it gives partitions up: when that returns, nothing of them is being handled any more.
    `transactional` is the application's id, the same in all its processes: deliveries are TransactionalDelivery then.
    """

    group: str
    topics: tuple[TopicSpec, ...]
    start: Start = Start.EARLIEST
    max_uncommitted: int = 1000
    commit_interval: float = 0.2
    on_revoke: Callable[[Collection[TopicPartition]], Awaitable[None]] = _keep
    transactional: str | None = None


class Delivery(Protocol):
    """One message handed to one member of a group."""

    @property
    def message(self) -> Message:
        """What was published, byte for byte."""
        ...

    @property
    def partition(self) -> int:
        """The partition it was read from; 0 where there are none."""
        ...

    @property
    def offset(self) -> int | None:
        """Its place in the partition; None where the broker has none."""
        ...

    @property
    def attempt(self) -> int:
        """1 for the first delivery, more for a redelivery, as far as the transport can tell."""
        ...

    @property
    def deaths(self) -> int:
        """How many processes ended while they handled this message and, of its partition, no other.

        Counted durably, by the transport's own mechanism. Who was handed several messages at once and died has proved
        nothing against any of them: after such an end a transport hands out what was in flight one by one ("suspect
        mode"), noting each before it does so. 0 where a transport cannot count.
        """
        ...

    def ack(self, error: Exception | None = None) -> None:
        """Settle it: it will not be delivered to the group again.

        Never blocks and never raises: the consumer carries it to the broker within `commit_interval`, an ack that comes
        after the partition was lost is dropped. `error` tells why handling failed when the message was set aside
        (dead letter, drop); only `memory://?inline=true` looks at it.
        """
        ...

    def release(self) -> None:
        """Give it back: it will be delivered again, to this member or another. Never blocks and never raises."""
        ...


class TransactionalDelivery(Delivery, Protocol):
    """A delivery of a subscription with `transactional`.

    What is published through it is seen by others if, and only if, it is settled. A partition hands out a batch, and
    nothing more until each of it was acked, released or failed. If all were acked, everything published through them
    and the group's position are committed at once. Else everything is undone, and the batch comes again, each alone
    in a transaction of its own.
    """

    @property
    def failures(self) -> int:
        """How often its attempts failed in this process: `fail` with `counted`."""
        ...

    @property
    def error(self) -> Exception | None:
        """Why its last attempt failed; None before any did."""
        ...

    @property
    def alone(self) -> bool:
        """Whether its transaction is its own: nothing else is undone with it."""
        ...

    async def publish(self, topic: TopicSpec, message: Message) -> Receipt:
        """Write one message as part of the transaction; return when the broker has it. Raises PublishError.

        The caller sets the deadline. An error undoes the transaction, whatever the caller does about it, unless the
        message is known to be refused before it was sent.
        """
        ...

    def fail(self, error: Exception, *, counted: bool = True) -> None:
        """Undo the attempt: it comes again, with `error`. In place of ack and release; never blocks, never raises."""
        ...


@dataclass(frozen=True, slots=True)
class ConsumerHealth:
    """How one member of a group is, as of now. Times are in seconds."""

    connected: bool
    """A connection to the broker is open and the member is in its group, or trying to be for a few seconds only."""
    heartbeat: float | None
    """How long ago the broker, or the file, last answered this member; None before it ever did."""
    lag: int | None
    """Messages that the group has not settled, of the partitions of this member; None when not known."""
    paused: tuple[TopicPartition, ...] = ()
    """Partitions that hand out nothing more until something is settled (`max_uncommitted`)."""
    suspect: tuple[TopicPartition, ...] = ()
    """Partitions that are handed out one by one, since a process died while it handled them."""
    rebuilt: int = 0
    """How often the member was found lost or stuck, and was made anew."""
    trouble: str | None = None
    """What keeps it from reading just now, in words; None when nothing does."""


class Consumer(Protocol):
    """One member of a group. Not for concurrent use, but `flush` and `close` may be called while `fetch` waits."""

    async def fetch(self, limit: int) -> Sequence[Delivery]:
        """Wait for messages and return up to `limit` of them, at least one; a partition's in offset order.

        Cancelling loses nothing. Called again and again also while nothing more may be handled: it keeps the membership
        alive. Raises BrokerError when the consumer cannot go on by itself.
        """
        ...

    async def flush(self) -> None:
        """Settle at the broker everything acked so far."""
        ...

    def health(self) -> ConsumerHealth:
        """How it is. Does no I/O: what is told was learnt while it worked."""
        ...

    async def close(self) -> None:
        """Flush, hand back what was fetched and not acked, leave the group. A waiting `fetch` raises Closed."""
        ...


class Transport(Protocol):
    """A broker. Made by a URL without I/O; every method may be called concurrently, from one event loop."""

    @property
    def features(self) -> Features:
        """Constant facts, known before connecting."""
        ...

    async def connect(self) -> None:
        """Connect. Raises Unreachable within the URL's `connect_timeout`."""
        ...

    async def declare(self, topics: Sequence[TopicSpec], groups: Sequence[str]) -> None:
        """Create what is missing of topics and, for brokers that keep per group, of the groups' queues.

        Idempotent, safe from several processes at once. `external` topics are only checked. Raises TopicMismatch when
        one exists otherwise than declared.
        """
        ...

    async def check(self, topics: Sequence[TopicSpec], groups: Sequence[str]) -> None:
        """Raise TopicMissing, naming them all, when topics (or the groups' queues) were not declared."""
        ...

    async def publish(self, topic: TopicSpec, message: Message) -> Receipt:
        """Write one message; return when the broker has it. Raises PublishError. The caller sets the deadline."""
        ...

    async def publish_many(
        self, topic: TopicSpec, messages: Sequence[Message]
    ) -> Sequence[Receipt | PublishError]:
        """Write a batch, its order kept per key; one outcome for each message, in their order. Raises only Closed."""
        ...

    async def ping(self) -> None:
        """Return when the broker answered just now. Raises BrokerError. The caller sets the deadline."""
        ...

    async def lag(self, topic: TopicSpec, group: str) -> int:
        """How many messages of the topic the group has not settled. Raises TopicMissing and BrokerError."""
        ...

    async def subscribe(self, subscription: Subscription) -> Consumer:
        """Join the group. Raises TopicMissing and CapabilityError."""
        ...

    async def close(self) -> None:
        """Flush and disconnect, bounded: within about 5 seconds also when the broker is gone. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class DriverOptions:
    """Options that go to the client library as they are, by the client's part they belong to."""

    producer: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    consumer: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    admin: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)


class TransportFactory(Protocol):
    """What the entry point group `eventwire.transports` names: a transport's constructor. It does no I/O.

    Raises UrlError for an option of the URL, or of `options`, that neither the transport nor its client knows.
    """

    def __call__(self, url: BrokerUrl, options: DriverOptions) -> Transport:
        """Make the transport."""
        ...
