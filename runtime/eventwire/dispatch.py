"""Dispatch: one topic's way from a delivery to its handlers, put together once per worker.

Outermost first: dead letter, read, the application's middleware, retry, timeout, validation, inbox, handler.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from eventwire.binding import Calls
from eventwire.context import Context
from eventwire.counts import Counts
from eventwire.deadline import Deadlines
from eventwire.errors import HandlerCancelled, PublishUnknown, WorkerStopped
from eventwire.group import Policies, dead_letter_spec, own_topics, retry_policy
from eventwire.inbox.base import Inbox
from eventwire.message import Message
from eventwire.middleware.base import HandleNext, Middleware, handle_chain
from eventwire.middleware.breaker import Breaker
from eventwire.middleware.dead_letter import DeadLetter
from eventwire.middleware.delayed import Delayed
from eventwire.middleware.inbox import Once
from eventwire.middleware.insist import Insist, Park
from eventwire.middleware.read import Read
from eventwire.middleware.retry import Attempts, Postpone, in_place
from eventwire.middleware.timeout import Timeout
from eventwire.middleware.validation import Validation
from eventwire.route import Validator
from eventwire.topic import Topic
from eventwire.transactions import InTransaction, JoinedLetters, require
from eventwire.transport import TopicSpec, Transport
from eventwire.wire.reader import Reader


@dataclass(slots=True)
class Shared:
    """What the chains of one worker have in common."""

    counts: Counts
    breaker: Breaker
    deadlines: Deadlines
    stuck: dict[str, str] = field(default_factory=dict[str, str])
    """By topic of the group's own: what keeps a dead letter or a retry from being published just now."""


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
    transport: Transport,
    topic: Topic[Any],
    policies: Policies,
    shared: Shared,
    *,
    transactional: bool = False,
) -> DeadLetter:
    """The group's dead letter for a topic."""
    spec = dead_letter_spec(topic, policies)
    if transactional:
        insist: Insist = JoinedLetters(spec, shared.deadlines)
    else:
        insist = Insist(park_on(transport, spec, shared.deadlines) if spec else _nowhere, shared.stuck)
    attempts = retry_policy(topic, policies).max_attempts
    return DeadLetter(
        spec.name if spec else None,
        insist,
        policies.on_exhausted,
        shared.counts,
        max_attempts=attempts,
        on_dead=policies.on_dead,
    )


def postpone_of(transport: Transport, topic: Topic[Any], policies: Policies, shared: Shared) -> Postpone:
    """Where the group's failed events of a topic wait."""
    levels = own_topics(topic, policies).levels
    if not levels:
        return in_place
    insists = [Insist(park_on(transport, level, shared.deadlines), shared.stuck) for level in levels]
    return Delayed(levels, insists)


def chain(
    transport: Transport,
    topic: Topic[Any],
    calls: Calls,
    *,
    policies: Policies,
    shared: Shared,
    validate: Validator | None,
    inbox: Inbox | None = None,
    transactional: bool = False,
) -> HandleNext:
    """The topic's chain, ending in the handlers. `transactional`: deliveries are TransactionalDelivery."""
    reader = Reader(topic, transport.features)
    policy = retry_policy(topic, policies)
    read = Read(reader, calls.keys(), topic.unknown_events, policies.unhandled, shared.counts)
    dead_letter = dead_letter_of(transport, topic, policies, shared, transactional=transactional)
    layers: list[Middleware] = [dead_letter, read, *policies.middleware]
    if transactional:
        require(transport, topic, policy, policies.on_dead)
        layers[0] = InTransaction(policy, shared.counts, shared.breaker, dead_letter.set_aside)
    else:
        postpone = postpone_of(transport, topic, policies, shared)
        layers.append(Attempts(policy, shared.counts, shared.breaker, postpone))
    if policies.timeout is not None:
        layers.append(Timeout(policies.timeout))
    if validate is not None:
        layers.append(Validation(validate))
    if inbox is not None:
        layers.append(Once(inbox, topic, transport.features, shared.counts))

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
