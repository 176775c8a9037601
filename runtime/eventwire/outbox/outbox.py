"""Recording: an event becomes a row of the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Generic, TypeAlias, TypeVar, overload

from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from eventwire.bus import Bus
from eventwire.context import Context
from eventwire.errors import ConfigurationError, InvalidEvent
from eventwire.message import Message
from eventwire.outbox.lag import Lag, lag_query, read_lag
from eventwire.outbox.rows import slot_of, write_headers, write_spec
from eventwire.outbox.tables import Tables
from eventwire.route import spec_of
from eventwire.topic import Topic
from eventwire.transport import TopicSpec

AnySession: TypeAlias = Session | AsyncSession | scoped_session[Any] | async_scoped_session[Any]
"""What an event can be recorded in."""

E_contra = TypeVar("E_contra", contravariant=True)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")


class Outbox(Generic[E_contra]):
    """Records events of its topics in database transactions; a `Relay` publishes them.

    An event's class tells its topic, so no two of the topics may have an event class in common: make an outbox for
    each. Type checkers know the events of up to six topics; of more, they take any. The bus need not be started here.
    `tables`: where to record, by default tables with the usual names. May be used concurrently and from any thread.

    Raises ConfigurationError for topics that cannot be told apart, or that their broker cannot carry.
    """

    @overload
    def __init__(self: Outbox[A], bus: Bus, a: Topic[A], /, *, tables: Tables | None = None) -> None: ...

    @overload
    def __init__(
        self: Outbox[A | B], bus: Bus, a: Topic[A], b: Topic[B], /, *, tables: Tables | None = None
    ) -> None: ...

    @overload
    def __init__(
        self: Outbox[A | B | C],
        bus: Bus,
        a: Topic[A],
        b: Topic[B],
        c: Topic[C],
        /,
        *,
        tables: Tables | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: Outbox[A | B | C | D],
        bus: Bus,
        a: Topic[A],
        b: Topic[B],
        c: Topic[C],
        d: Topic[D],
        /,
        *,
        tables: Tables | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: Outbox[A | B | C | D | E],
        bus: Bus,
        a: Topic[A],
        b: Topic[B],
        c: Topic[C],
        d: Topic[D],
        e: Topic[E],
        /,
        *,
        tables: Tables | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: Outbox[A | B | C | D | E | F],
        bus: Bus,
        a: Topic[A],
        b: Topic[B],
        c: Topic[C],
        d: Topic[D],
        e: Topic[E],
        f: Topic[F],
        /,
        *,
        tables: Tables | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: Outbox[Any],
        bus: Bus,
        a: Topic[Any],
        b: Topic[Any],
        c: Topic[Any],
        d: Topic[Any],
        e: Topic[Any],
        f: Topic[Any],
        /,
        *more: Topic[Any],
        tables: Tables | None = None,
    ) -> None: ...

    def __init__(self, bus: Bus, /, *topics: Topic[Any], tables: Tables | None = None) -> None:
        if not topics:
            raise ConfigurationError("an outbox needs the topics whose events it records")
        self._bus = bus
        self._tables = Tables() if tables is None else tables
        self._topics = _by_class(topics)
        self._specs: dict[Topic[Any], tuple[TopicSpec, str]] = {}
        for topic in topics:
            bus.writer(topic)
            self._specs[topic] = (spec := spec_of(topic), write_spec(spec))

    @property
    def tables(self) -> Tables:
        """Where it records."""
        return self._tables

    def add(
        self,
        session: AnySession,
        event: E_contra,
        *,
        headers: Mapping[str, str] | None = None,
        id: str | None = None,
        deliver_at: datetime | None = None,
        cause: Context | None = None,
    ) -> str:
        """Record an event in the session's transaction; its id.

        Does no I/O, in an async session neither: the session's flush inserts the row. If the transaction commits, the
        event is published at least once; if it is rolled back, never. Id, time, key, headers and body are final now.
        Events of one key are published in the order of their rows, which is that of their commits only where the
        caller lets no two transactions record events of one key at the same time (a lock on the entity's row does).

        `headers` and `id` are as for `Publisher.publish`. `deliver_at`: publish not before this moment of the
        database's clock, out of the key's order. `cause`: the delivery that led to the event, which then has its
        correlation and causation.

        Raises InvalidEvent (an event of no topic of this outbox, no key, a failed validation) and TooLarge, both
        before anything is recorded, and ValueError for a `deliver_at` without time zone.
        """
        topic = self._topics.get(type(event))
        if topic is None:
            known = ", ".join(sorted(cls.__name__ for cls in self._topics))
            raise InvalidEvent(f"this outbox records {known}; this is a {type(event).__qualname__}")
        if deliver_at is not None and deliver_at.utcoffset() is None:
            raise ValueError(f"deliver_at {deliver_at.isoformat()} has no time zone: use datetime.now(UTC)")
        message = self._bus.writer(topic).write(event, headers, id, cause)
        return self._record(session, topic, message, deliver_at)

    def tombstone(
        self, session: AnySession, topic: Topic[Any], key: str | bytes | int, *, cause: Context | None = None
    ) -> str:
        """Record a tombstone of a compacted topic of this outbox; its id. Raises InvalidEvent. See `add`."""
        if topic not in self._specs or not topic.compact:
            raise InvalidEvent(
                f"topic {topic.name} is not compacted"
                if topic in self._specs
                else f"topic {topic.name} is none of this outbox's"
            )
        return self._record(session, topic, self._bus.writer(topic).tombstone(key, cause), None)

    def lag(self, session: Session | scoped_session[Any]) -> Lag:
        """What waits. With an AsyncSession: `await session.run_sync(outbox.lag)`, or ask the relay."""
        return read_lag(session.execute(lag_query(self._tables)).one())

    def _record(
        self, session: AnySession, topic: Topic[Any], message: Message, deliver_at: datetime | None
    ) -> str:
        spec, written = self._specs[topic]
        row = self._tables.recorded(
            slot=slot_of(message.topic, message.key, message.id),
            topic=message.topic,
            broker=topic.broker,
            spec=written,
            in_order=spec.ordered and message.key is not None and deliver_at is None,
            event_id=message.id,
            key=message.key,
            body=message.body,
            headers=write_headers(message.headers),
            content_type=message.content_type,
            deliver_at=None if deliver_at is None else deliver_at.astimezone(UTC),
        )
        session.add(row)
        return message.id


def _by_class(topics: tuple[Topic[Any], ...]) -> dict[type[Any], Topic[Any]]:
    found: dict[type[Any], Topic[Any]] = {}
    for topic in topics:
        for cls in topic.by_message:
            if (other := found.setdefault(cls, topic)) is not topic:
                raise ConfigurationError(
                    f"{cls.__name__} is an event of {other.name} and of {topic.name}: make an outbox for each topic"
                )
    return found
