"""Transactions: what a handler publishes is seen when its event is settled, and not at all when it is not."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from typing_extensions import override

from eventwire.batch import BatchReceipt
from eventwire.context import Context, Origin
from eventwire.counts import Counts
from eventwire.deadline import Deadlines
from eventwire.errors import (
    CapabilityError,
    ConfigurationError,
    HandlerDied,
    InvalidEvent,
    PublishError,
    PublishUnknown,
    ReadError,
    Reject,
    Retry,
    TooLarge,
    WorkerStopped,
)
from eventwire.message import Message, Receipt
from eventwire.middleware.backoff import backoff
from eventwire.middleware.base import HandleNext, Middleware
from eventwire.middleware.breaker import Breaker
from eventwire.middleware.insist import Insist
from eventwire.policy import OnDead, RetryMode, RetryPolicy
from eventwire.route import Route
from eventwire.topic import Topic
from eventwire.transport import Delivery, TopicSpec, TransactionalDelivery, Transport

if TYPE_CHECKING:
    from eventwire.bus import Bus

_log = logging.getLogger("eventwire.transactions")
E = TypeVar("E")


def require(transport: Transport, topic: Topic[Any], policy: RetryPolicy, on_dead: OnDead) -> None:
    """Raise CapabilityError when a topic cannot be handled in transactions."""
    features = transport.features
    if not features.transactions:
        raise CapabilityError(
            f"topic {topic.name}: {features.transport} has no transactions, kafka has: use it, or leave "
            "`transactional` out and publish through an outbox"
        )
    if policy.mode is RetryMode.DELAYED:
        raise CapabilityError(
            f"topic {topic.name}: a delayed retry would leave the transaction: retry in place (`RetryPolicy()`)"
        )
    if on_dead is OnDead.BLOCK_KEY:
        raise CapabilityError(
            f"topic {topic.name}: a key that is blocked keeps its transaction open, its dead letter unseen: use "
            "`OnDead.CONTINUE` with `transactional`"
        )


def require_no_inbox(transactional: str | None) -> None:
    """Raise ConfigurationError for a worker with an inbox that is to handle in transactions, too."""
    if transactional is not None:
        raise ConfigurationError(
            "an inbox remembers what a transaction may undo: give the worker either `inbox` or `transactional`"
        )


def joined(bus: Bus, topic: Topic[Any], delivery: Delivery, deadlines: Deadlines) -> Origin:
    """What publishes on behalf of a delivery of a worker with `transactional`."""
    return Joined(bus, cast("TransactionalDelivery", delivery), bus.transport(topic), deadlines)


def delivery_of(context: Context) -> TransactionalDelivery:
    """The delivery of a worker with `transactional`, whose transport was asked for such deliveries."""
    return cast("TransactionalDelivery", context.delivery)


class Joined:
    """What a handler publishes, in the transaction of its delivery. Takes the bus's place in its context."""

    def __init__(
        self, bus: Bus, delivery: TransactionalDelivery, home: Transport, deadlines: Deadlines
    ) -> None:
        self._bus = bus
        self._delivery = delivery
        self._home = home
        self._deadlines = deadlines

    async def publish(
        self,
        topic: Topic[E],
        event: E,
        *,
        headers: Mapping[str, str] | None,
        id: str | None,
        cause: Context | None,
    ) -> Receipt:
        """Publish one event, as caused by the one of `cause`. Raises PublishError."""
        route = await self._route(topic)
        return await self._send(route, route.write(event, headers, id, cause))

    async def publish_many(
        self,
        topic: Topic[E],
        events: Iterable[E] | AsyncIterable[E],
        *,
        headers: Mapping[str, str] | None,
        max_in_flight: int,  # noqa: ARG002  a transaction is a batch of its own
        cause: Context | None,
    ) -> BatchReceipt:
        """Publish many events one after the other, as caused by the one of `cause`."""
        confirmed = 0
        failures: list[PublishError] = []
        async for index, event in _numbered(events):
            try:
                await self.publish(topic, event, headers=headers, id=None, cause=cause)
                confirmed += 1
            except PublishError as error:
                failures.append(error.at(index))
        return BatchReceipt(confirmed, tuple(failures))

    async def publish_tombstone(
        self, topic: Topic[Any], key: str | bytes | int, *, cause: Context | None
    ) -> Receipt:
        """Publish a tombstone, as caused by the event of `cause`."""
        route = await self._route(topic)
        return await self._send(route, route.tombstone(key, cause))

    async def _route(self, topic: Topic[Any]) -> Route:
        if self._bus.transport(topic) is not self._home:
            raise CapabilityError(
                f"topic {topic.name} is on another broker than the transaction: publish it through an outbox, or from "
                "a worker without `transactional`"
            )
        return await self._bus.route(topic)

    async def _send(self, route: Route, message: Message) -> Receipt:
        return await route.through(message, self._deliver)

    async def _deliver(self, spec: TopicSpec, message: Message) -> Receipt:
        try:
            with self._deadlines.guard():
                return await self._delivery.publish(spec, message)
        except TimeoutError as error:
            raise PublishUnknown(
                f"topic {spec.name}: not confirmed within {self._deadlines.seconds:g} s: the transaction is undone",
                message,
            ) from error


async def _numbered(events: Iterable[E] | AsyncIterable[E]) -> AsyncIterable[tuple[int, E]]:
    if isinstance(events, AsyncIterable):
        index = 0
        async for event in events:
            yield index, event
            index += 1
        return
    for index, event in enumerate(events):
        yield index, event


class InTransaction(Middleware):
    """One attempt, outermost. When it fails, what it published is undone and the event comes again, alone.

    `set_aside` dead-letters, drops or stops: called only for an event that is alone in its transaction.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        counts: Counts,
        breaker: Breaker,
        set_aside: Callable[[Context, Exception], Any],
    ) -> None:
        self._policy = policy
        self._counts = counts
        self._breaker = breaker
        self._set_aside = set_aside

    async def on_handle(self, context: Context, call_next: HandleNext) -> None:
        """Handle once, or set aside what was tried often enough."""
        delivery = delivery_of(context)
        context.attempt += delivery.failures
        try:
            if (hopeless := self._hopeless(context, delivery)) is not None:
                await self._end(context, delivery, hopeless)
                return
            if delivery.failures and delivery.error is not None:
                await context.sleep(self._seconds(delivery.failures, delivery.error))
            if self._breaker.why is not None:
                await self._breaker.admit(context)
            await call_next(context)
        except WorkerStopped:
            raise
        except Exception as error:  # noqa: BLE001  whatever a handler raises, its event must not be lost
            self._failed(context, delivery, error)
        else:
            if self._breaker.troubled:
                self._breaker.succeeded()
        finally:
            if self._breaker.troubled:
                self._breaker.ended(context)

    def _hopeless(self, context: Context, delivery: TransactionalDelivery) -> Exception | None:
        """Why no further attempt is made."""
        error, most = delivery.error, self._policy.max_attempts
        if context.attempt <= most and not isinstance(error, ReadError | Reject):
            return None
        context.attempt = min(context.attempt, most)
        return error or HandlerDied(
            f"{delivery.deaths} processes ended while they handled this event and no other: killed, out of memory, or "
            "a crash"
        )

    async def _end(self, context: Context, delivery: TransactionalDelivery, error: Exception) -> None:
        """A dead letter is alone in its transaction: with others, their failure would undo it."""
        if not delivery.alone:
            delivery.fail(error, counted=False)
            return
        if self._breaker.why is not None:
            await self._breaker.admit(context)
        try:
            await self._set_aside(context, error)
        except PublishError as refused:  # it comes again, for the cause that it had
            self._breaker.failed(context, refused, transient=True)
            _log.error("%s of %s cannot be dead-lettered now: %s", context.id, context.topic.name, refused)
            delivery.fail(error, counted=False)

    def _failed(self, context: Context, delivery: TransactionalDelivery, error: Exception) -> None:
        transient = self._breaker.is_transient(error)
        if not isinstance(error, Retry | Reject | ReadError):
            self._breaker.failed(context, error, transient=transient)
        if transient:
            self._counts.transient += 1
        else:
            self._counts.retried += not isinstance(error, Reject | ReadError)
        _log.info(
            "%s of %s failed at attempt %d in group %s, its transaction is undone: %s",
            context.id, context.topic.name, context.attempt, context.group, type(error).__name__,
            exc_info=error if _log.isEnabledFor(logging.DEBUG) else None,
        )  # fmt: skip
        delivery.fail(error, counted=not transient)

    def _seconds(self, failures: int, error: Exception) -> float:
        after = error.after if isinstance(error, Retry) else None
        if after is not None:
            return after
        return backoff(self._policy, failures, random.random())  # noqa: S311  spreads retries, no secret


class JoinedLetters(Insist):
    """Publishes dead letters in the delivery's own transaction."""

    def __init__(self, spec: TopicSpec | None, deadlines: Deadlines) -> None:
        super().__init__(_nowhere, {})
        self._spec = spec
        self._deadlines = deadlines

    @override
    async def publish(
        self, message: Message, context: Context, smaller: Callable[[Message], Message]
    ) -> None:
        """Once: an error undoes the transaction, and the event comes again to be dead-lettered again."""
        try:
            await self._publish(message, context)
        except (TooLarge, InvalidEvent):
            await self._publish(smaller(message), context)

    async def _publish(self, message: Message, context: Context) -> None:
        if self._spec is None:
            return await _nowhere(message)
        try:
            with self._deadlines.guard():
                await delivery_of(context).publish(self._spec, message)
        except TimeoutError as error:
            raise PublishUnknown(
                f"topic {self._spec.name}: not confirmed within {self._deadlines.seconds:g} s", message
            ) from error


async def _nowhere(message: Message) -> None:
    raise RuntimeError(f"no dead letter takes {message.id}")
