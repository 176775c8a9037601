"""Where ``eventwire dlq`` finds dead letters: at a worker's topics, or at a broker without any code."""

import argparse
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from eventwire.cli.targets import Unusable, worker_of
from eventwire.dead_letters import DeadLetters
from eventwire.links import make_transport
from eventwire.policy import DeadLetterPolicy
from eventwire.topic import Topic
from eventwire.transport import DriverOptions, Features, TopicSpec
from eventwire.worker import Worker


@dataclass(frozen=True, slots=True)
class Place:
    """Dead letters; `topic` where its code is at hand."""

    letters: DeadLetters
    features: Features
    topic: Topic[Any] | None = None


@asynccontextmanager
async def opened(flags: argparse.Namespace) -> AsyncGenerator[Sequence[Place]]:
    """Connect. Raises Unusable for flags that name nothing."""
    if flags.worker is None:
        async with _at_broker(flags) as place:
            yield [place]
        return
    if unwanted := [
        name for name in ("broker", "group", "dead_letter", "partitions") if getattr(flags, name)
    ]:
        raise Unusable(
            f"a worker knows its {unwanted[0].replace('_', ' ')}: leave --{unwanted[0].replace('_', '-')} out"
        )
    worker = await worker_of(flags.worker)
    async with worker.bus as bus:
        yield [
            Place(
                DeadLetters(bus, topic, worker.group, policy=worker.dead_letter),
                bus.transport(topic).features,
                topic,
            )
            for topic in _topics(worker, flags.topic)
        ]


def _topics(worker: Worker, name: str | None) -> Sequence[Topic[Any]]:
    topics = [
        topic
        for topic in worker.topics
        if name in (None, topic.name) and not (worker.dead_letter or topic.dead_letter).disabled
    ]
    if not topics:
        known = ", ".join(topic.name for topic in worker.topics)
        raise Unusable(
            f"group {worker.group} has no dead letters of {name or 'its topics'}; it reads {known}"
        )
    return topics


@asynccontextmanager
async def _at_broker(flags: argparse.Namespace) -> AsyncGenerator[Place]:
    if not (flags.broker and flags.topic and flags.group):
        raise Unusable("name a worker (MODULE:ATTR), or --broker, --topic and --group")
    policy = DeadLetterPolicy(topic=flags.dead_letter) if flags.dead_letter else None
    topic = TopicSpec(flags.topic, flags.partitions or 1, ordered=flags.partitions is not None)
    transport = make_transport(flags.broker, DriverOptions())
    try:
        await transport.connect()
        yield Place(DeadLetters(transport, topic, flags.group, policy=policy), transport.features)
    finally:
        await transport.close()
