"""The transport of `sqlite:///file.db`."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from eventwire.errors import (
    BrokerError,
    Closed,
    InvalidEvent,
    PublishError,
    PublishFailed,
    PublishUnknown,
    TooLarge,
    TopicMissing,
    Unreachable,
    UrlError,
)
from eventwire.message import Message, Receipt
from eventwire.partition import partition_of
from eventwire.transport import DriverOptions, Features, Subscription, TopicSpec
from eventwire.transports import DECLARE_IT
from eventwire.transports.sqlite import log, membership
from eventwire.transports.sqlite.consumer import SqliteConsumer
from eventwire.transports.sqlite.database import CommitUnknown, Database, Write
from eventwire.transports.sqlite.membership import Member
from eventwire.url import BrokerUrl

T = TypeVar("T")
_MAX_BODY = 1 << 20
_OPTIONS = ("busy_timeout", "connect_timeout", "lease", "max_body", "poll")


class SqliteTransport:
    """`sqlite:///relative.db` or `sqlite:////absolute.db`; processes that use one file are one broker.

    Options: `poll` (seconds between looks for what other processes published, 0.05), `lease` (seconds after which a
    silent process loses its partitions, 10), `max_body` (bytes, 1 MiB), `busy_timeout` (seconds to wait for another
    process's transaction, 5), `connect_timeout` (seconds, 10). The file must be on a local disk. Messages of topics
    without retention are kept for ever.
    """

    def __init__(self, url: BrokerUrl, options: DriverOptions) -> None:
        url.only(_OPTIONS, "the sqlite transport")
        if options.producer or options.consumer or options.admin:
            raise UrlError(f"{url}: the sqlite transport has no client that takes driver options")
        if url.hosts or not url.path or url.path == ":memory:":
            raise UrlError(f"{url}: an sqlite URL is `sqlite:///relative.db` or `sqlite:////absolute.db`")
        self._url = url
        self._poll = url.number("poll", 0.05, least=0.001)
        self._lease = url.number("lease", 10.0, least=0.01)
        self._max_body = int(url.number("max_body", _MAX_BODY, least=1))
        self._connect_timeout = url.number("connect_timeout", 10.0, least=0.001)
        self._path = Path(url.path)
        self._database = Database(self._path, url.number("busy_timeout", 5.0))
        self._partitions: dict[str, Sequence[int]] = {}
        self._consumers: set[SqliteConsumer] = set()
        self._turn = itertools.count()
        self._boot = membership.boot()
        self._closed = False
        self.features = Features(
            transport="sqlite",
            durable=True,
            confirms=True,
            ack=True,
            groups=True,
            ordering=True,
            history=True,
            replay=True,
            processes=True,
            max_body=self._max_body,
        )

    async def connect(self) -> None:
        """See Transport.connect: opens the file, and creates it where there is none."""
        self._check_open()
        try:
            async with asyncio.timeout(self._connect_timeout):
                await self._database.open()
        except TimeoutError as error:
            raise Unreachable(
                f"{self._path} could not be opened within {self._connect_timeout:g} s"
            ) from error

    async def declare(self, topics: Sequence[TopicSpec], groups: Sequence[str]) -> None:  # noqa: ARG002 groups need none
        """See Transport.declare."""
        self._check_open()
        try:
            await self._database.write(lambda write: log.declare(write.connection, topics))
        except (sqlite3.Error, CommitUnknown) as error:
            raise BrokerError(f"{self._path}: topics could not be declared: {error}") from error

    async def check(self, topics: Sequence[TopicSpec], groups: Sequence[str]) -> None:  # noqa: ARG002 groups need none
        """See Transport.check."""
        self._check_open()
        if absent := await self._ask(lambda connection: log.missing(connection, topics)):
            raise TopicMissing(f"{self._path}: never declared: {', '.join(absent)}; {DECLARE_IT}")

    async def publish(self, topic: TopicSpec, message: Message) -> Receipt:
        """See Transport.publish."""
        self._check_open()
        if (refusal := self._refusal(message)) is not None:
            raise refusal
        [outcome] = await self._write(topic, (message,))
        if isinstance(outcome, PublishError):
            raise outcome
        return outcome

    async def publish_many(
        self, topic: TopicSpec, messages: Sequence[Message]
    ) -> Sequence[Receipt | PublishError]:
        """See Transport.publish_many: one transaction."""
        self._check_open()
        outcomes: list[Receipt | PublishError | None] = [self._refusal(message) for message in messages]
        fitting = [index for index, outcome in enumerate(outcomes) if outcome is None]
        written = await self._write(topic, [messages[index] for index in fitting])
        for index, outcome in zip(fitting, written, strict=True):
            outcomes[index] = outcome
        return [outcome for outcome in outcomes if outcome is not None]

    async def ping(self) -> None:
        """See Transport.ping: the file is there, and can be read."""
        self._check_open()
        await self._ask(lambda connection: connection.execute("SELECT 1 FROM topics LIMIT 1").fetchone())

    async def lag(self, topic: TopicSpec, group: str) -> int:
        """See Transport.lag: as committed in the file; a group that never read the topic has all of it before it."""
        self._check_open()

        def count(connection: sqlite3.Connection) -> int:
            log.partition_ids(connection, topic)
            return membership.lag(connection, topic.name, group)

        return await self._ask(count)

    async def subscribe(self, subscription: Subscription) -> SqliteConsumer:
        """See Transport.subscribe."""
        self._check_open()
        names = [spec.name for spec in subscription.topics]
        member = Member(str(uuid.uuid4()), subscription.group, names, self._lease, self._boot)
        try:
            await self._database.write(lambda write: _enter(write, subscription))
        except (sqlite3.Error, CommitUnknown) as error:
            raise BrokerError(f"{self._path}: could not join group {subscription.group}: {error}") from error
        consumer = SqliteConsumer(
            self._database, member, subscription, poll=self._poll, changed=self._rebalance
        )
        self._consumers.add(consumer)
        try:
            await consumer.start()
        except (
            BaseException
        ):  # cancelled, it may have joined: then its partitions would wait for the lease to expire
            await consumer.close()
            raise
        return consumer

    async def close(self) -> None:
        """See Transport.close."""
        if self._closed:
            return
        self._closed = True
        await asyncio.gather(*(consumer.close() for consumer in self._consumers))
        self._consumers.clear()
        await self._database.close()

    async def _ask(self, job: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._database.read(job)
        except sqlite3.Error as error:
            raise BrokerError(f"{self._path} does not answer: {error}") from error

    async def _write(self, topic: TopicSpec, messages: Sequence[Message]) -> Sequence[Receipt | PublishError]:
        placed = [(message, self._place(topic, message.key)) for message in messages]

        def job(write: Write) -> list[Receipt]:
            if (partitions := self._partitions.get(topic.name)) is None or len(
                partitions
            ) != topic.partitions:
                partitions = self._partitions[topic.name] = log.partition_ids(write.connection, topic)
            append = write.append
            return [
                Receipt(topic.name, message.id, number, append(partitions[number], message))
                for message, number in placed
            ]

        try:
            receipts = await self._database.write(job)
        except CommitUnknown as error:
            return [_failed(PublishUnknown, f"{self._path}: {error}", error, message) for message in messages]
        except (sqlite3.Error, BrokerError) as error:
            return [_failed(PublishFailed, f"{self._path}: {error}", error, message) for message in messages]
        for consumer in self._consumers:
            if consumer.reads(topic.name):
                consumer.wake()
        return receipts

    def _place(self, topic: TopicSpec, key: bytes | None) -> int:
        if topic.partitions == 1:
            return 0
        return next(self._turn) % topic.partitions if key is None else partition_of(key, topic.partitions)

    def _refusal(self, message: Message) -> PublishFailed | None:
        if not (_is_text(message.id) and _is_text(message.content_type or "")):
            return InvalidEvent(f"{message.topic}: the id or content type is no UTF-8 text", message)
        size = len(message.body or b"")
        if size <= self._max_body:
            return None
        text = f"{message.topic}: a body of {size:,} bytes is above this broker's {self._max_body:,}"
        return TooLarge(f"{text} (`max_body` of the sqlite URL)", message)

    def _rebalance(self) -> None:
        self._consumers = {consumer for consumer in self._consumers if not consumer.closed}
        for consumer in self._consumers:
            consumer.look()

    def _check_open(self) -> None:
        if self._closed:
            raise Closed(f"{self._url} was closed")


def _is_text(value: str) -> bool:
    """Whether it can be written: a lone surrogate would fail the transaction of everybody's publishes."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _enter(write: Write, subscription: Subscription) -> None:
    for spec in subscription.topics:
        partitions = log.partition_ids(write.connection, spec)
        membership.enter(write.connection, subscription.group, partitions, subscription.start)


def _failed(kind: type[PublishError], text: str, cause: Exception, message: Message) -> PublishError:
    error = kind(text, message)
    error.__cause__ = cause
    return error
