"""A consumer group's own policies and topics: where its failed events go, and where they come from again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from eventwire.errors import CapabilityError, ConfigurationError
from eventwire.middleware.backoff import backoff
from eventwire.middleware.base import Middleware
from eventwire.policy import (
    DeadLetterPolicy,
    OnDead,
    OnExhausted,
    Ordering,
    RetryMode,
    RetryPolicy,
    Unhandled,
)
from eventwire.topic import Topic
from eventwire.transport import TopicSpec


@dataclass(frozen=True, slots=True)
class Policies:
    """How a group handles events; None leaves it to the topic."""

    group: str
    retry: RetryPolicy | None = None
    dead_letter: DeadLetterPolicy | None = None
    on_exhausted: OnExhausted = OnExhausted.STOP
    on_dead: OnDead = OnDead.CONTINUE
    unhandled: Unhandled = Unhandled.SKIP
    timeout: float | None = None
    middleware: Sequence[Middleware] = ()


@dataclass(frozen=True, slots=True)
class OwnTopics:
    """The topics that a group has for itself beside one that it reads. All of them are queues.

    `dead_letter` takes what no attempt could handle, None where it is disabled. `replay` brings back what an operator
    replays, to this group alone. `levels` are the waits of delayed retry, shortest first; each delivers after its
    `delay`.
    """

    dead_letter: TopicSpec | None
    replay: TopicSpec | None
    levels: tuple[TopicSpec, ...] = ()

    @property
    def read(self) -> tuple[TopicSpec, ...]:
        """Those that the group's workers read."""
        return (*((self.replay,) if self.replay else ()), *self.levels)

    @property
    def all(self) -> tuple[TopicSpec, ...]:
        """Every one of them."""
        return (*((self.dead_letter,) if self.dead_letter else ()), *self.read)


def own_topics(topic: Topic[Any], policies: Policies) -> OwnTopics:
    """The group's own topics for a topic. Raises ConfigurationError and CapabilityError."""
    dead_letter = dead_letter_spec(topic, policies)
    replay = TopicSpec(f"{topic.name}.{policies.group}.retry", queue=True) if dead_letter else None
    return OwnTopics(dead_letter, replay, _levels(topic, policies))


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
    """The group's retry policy. Raises CapabilityError for delayed retry of an ordered topic."""
    policy = policies.retry or topic.retry
    if policy.mode is RetryMode.DELAYED and topic.ordering is Ordering.PER_KEY:
        raise CapabilityError(
            f"topic {topic.name} is ordered per key, and a delayed retry would let later events of the key overtake: "
            "retry in place (`RetryPolicy()`), or declare `ordering: ORDERING_NONE`"
        )
    return policy


def _levels(topic: Topic[Any], policies: Policies) -> tuple[TopicSpec, ...]:
    """One for each different wait: a queue can only let out what is due first when all in it wait equally long."""
    policy = retry_policy(topic, policies)
    if policy.mode is not RetryMode.DELAYED:
        return ()
    even = replace(policy, jitter=0.0)
    waits = sorted({_rounded(backoff(even, attempt, 0.0)) for attempt in range(1, policy.max_attempts)})
    prefix = f"{topic.name}.{policies.group}.retry"
    return tuple(TopicSpec(f"{prefix}.{_shown(wait)}", queue=True, delay=wait) for wait in waits)


def _rounded(seconds: float) -> float:
    """To a millisecond, the finest wait there is."""
    return max(1, round(seconds * 1000)) / 1000


def _shown(seconds: float) -> str:
    """`200ms`, `5s`: the shortest whole number."""
    milliseconds = round(seconds * 1000)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"
