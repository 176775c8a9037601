"""Dispatch: one topic's way from a delivery to its handlers, put together once per worker.

Outermost first: dead letter, read, the application's middleware, retry, timeout, validation, handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eventwire.binding import Calls
from eventwire.context import Context
from eventwire.counts import Counts
from eventwire.deadline import Deadlines
from eventwire.errors import (
    CapabilityError,
    ConfigurationError,
    HandlerCancelled,
    PublishUnknown,
    WorkerStopped,
)
from eventwire.message import Message
from eventwire.middleware.base import HandleNext, Middleware, handle_chain
from eventwire.middleware.dead_letter import DeadLetter, Park
from eventwire.middleware.read import Read
from eventwire.middleware.retry import RetryInPlace
from eventwire.middleware.timeout import Timeout
from eventwire.middleware.validation import Validation
from eventwire.policy import DeadLetterPolicy, OnExhausted, RetryMode, RetryPolicy, Unhandled
from eventwire.route import Validator
from eventwire.topic import Topic
from eventwire.transport import TopicSpec, Transport
from eventwire.wire.reader import Reader


@dataclass(frozen=True, slots=True)
class Policies:
    """How a group handles events; None leaves it to the topic."""

    group: str
    retry: RetryPolicy | None = None
    dead_letter: DeadLetterPolicy | None = None
    on_exhausted: OnExhausted = OnExhausted.STOP
    unhandled: Unhandled = Unhandled.SKIP
    timeout: float | None = None
    middleware: Sequence[Middleware] = ()


def dead_letter_spec(topic: Topic[Any], policies: Policies) -> TopicSpec | None:
    """The group's dead letter topic, or None where it is disabled. Raises ConfigurationError for the topic itself."""
    policy = policies.dead_letter or topic.dead_letter
    if policy.disabled:
        return None
    name = policy.topic.replace("{topic}", topic.name).replace("{group}", policies.group)
    if name == topic.name:
        raise ConfigurationError(
            f"topic {topic.name}: its dead letter is the topic itself, so a failed event would come back for ever: "
            "name another, for example `{topic}.{group}.dead`"
        )
    return TopicSpec(name, queue=True)


def retry_policy(topic: Topic[Any], policies: Policies) -> RetryPolicy:
    """The group's retry policy. Raises CapabilityError for delayed retry."""
    policy = policies.retry or topic.retry
    if policy.mode is RetryMode.DELAYED:
        raise CapabilityError(
            f"topic {topic.name}: delayed retry needs retry queues, which this version does not have: "
            "override it with `Worker(..., retry=RetryPolicy())`"
        )
    return policy


def park_on(transport: Transport, spec: TopicSpec, deadlines: Deadlines) -> Park:
    """A function that publishes dead letters. It raises PublishError within the deadline."""

    async def park(message: Message) -> None:
        try:
            with deadlines.guard():
                await transport.publish(spec, message)
        except TimeoutError as error:
            raise PublishUnknown(
                f"topic {spec.name}: not confirmed within {deadlines.seconds:g} s", message
            ) from error

    return park


def dead_letter_of(
    transport: Transport, topic: Topic[Any], policies: Policies, counts: Counts, deadlines: Deadlines
) -> DeadLetter:
    """The group's dead letter for a topic."""
    spec = dead_letter_spec(topic, policies)
    park = park_on(transport, spec, deadlines) if spec else _nowhere
    return DeadLetter(spec.name if spec else None, park, policies.on_exhausted, counts)


def chain(
    transport: Transport,
    topic: Topic[Any],
    calls: Calls,
    *,
    policies: Policies,
    counts: Counts,
    deadlines: Deadlines,
    validate: Validator | None,
) -> HandleNext:
    """The topic's chain, ending in the handlers."""
    reader = Reader(topic, transport.features)
    layers: list[Middleware] = [
        dead_letter_of(transport, topic, policies, counts, deadlines),
        Read(reader, calls.keys(), topic.unknown_events, policies.unhandled, counts),
        *policies.middleware,
        RetryInPlace(retry_policy(topic, policies), counts),
    ]
    if policies.timeout is not None:
        layers.append(Timeout(policies.timeout))
    if validate is not None:
        layers.append(Validation(validate))

    async def call(context: Context) -> None:
        incoming = context.incoming
        try:
            await calls[incoming.event if incoming.data is not None else None](context.event, context)
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            raise HandlerCancelled(
                "the handler ended as cancelled by something that it awaited, not by the worker"
            ) from error
        except SystemExit as error:  # unconverted it would tear the event loop down, half settled
            raise WorkerStopped(f"a handler of group {context.group} called sys.exit()") from error

    return handle_chain(layers, call)


async def _nowhere(message: Message) -> None:
    raise RuntimeError(f"no dead letter takes {message.id}")
