"""Declaring and checking topics through the admin client.

Nothing here makes a broker create a topic by itself: metadata is asked for all topics, never for one by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, NoError, TopicAlreadyExistsError, for_code

from eventwire.errors import BrokerError, TopicMismatch, TopicMissing
from eventwire.transport import TopicSpec
from eventwire.transports import DECLARE_IT
from eventwire.transports.kafka.faults import describe
from eventwire.transports.kafka.names import kafka_name

if TYPE_CHECKING:
    from aiokafka.admin import TopicDescription

_LED_WITHIN = 30.0
_ASK_AGAIN_AFTER = 0.05
_HARMLESS = (NoError, TopicAlreadyExistsError)


async def declare(admin: AIOKafkaAdminClient, topics: Sequence[TopicSpec], replication_factor: int) -> None:
    """Create what is missing, wait until every partition has a leader, compare what was there.

    Raises TopicMissing for `external` topics, TopicMismatch, and BrokerError when the broker refuses one.
    """
    counts = await partition_counts(admin)
    require([topic for topic in topics if topic.external], counts)
    absent = [topic for topic in topics if kafka_name(topic.name) not in counts]
    if absent:
        await _create(admin, absent, replication_factor)
        counts = await _led(admin, absent)
    for topic in topics:
        _compare(topic, counts[kafka_name(topic.name)])


def require(topics: Sequence[TopicSpec], counts: Mapping[str, int]) -> None:
    """Raise TopicMissing, naming all of `topics` that are not among `counts`."""
    absent = [topic.name for topic in topics if kafka_name(topic.name) not in counts]
    if absent:
        raise topic_missing(*absent)


def topic_missing(*names: str) -> TopicMissing:
    """The error for topics that do not exist, or that this user may not even see."""
    listed = ", ".join(f"`{name}`" for name in names)
    return TopicMissing(
        f"Kafka has no topic {listed}: {DECLARE_IT}, or give this user the DESCRIBE ACL if it exists"
    )


async def partition_counts(admin: AIOKafkaAdminClient) -> Mapping[str, int]:
    """How many partitions each topic of the cluster has, by its name on the broker. Raises BrokerError."""
    return {found["topic"]: len(found["partitions"]) for found in await _topics(admin)}


async def leaders(admin: AIOKafkaAdminClient) -> Mapping[str, Mapping[int, int]]:
    """The leader of each partition of each topic of the cluster. Raises BrokerError."""
    return {
        found["topic"]: {each["partition"]: each["leader"] for each in found["partitions"]}
        for found in await _topics(admin)
    }


async def _topics(admin: AIOKafkaAdminClient) -> Sequence[TopicDescription]:
    try:
        found = await admin.describe_topics()
    except KafkaError as error:
        raise BrokerError(f"Kafka does not tell its topics: {describe(error)}") from error
    return [topic for topic in found if not topic["error_code"]]


async def _create(admin: AIOKafkaAdminClient, topics: Sequence[TopicSpec], replication_factor: int) -> None:
    try:
        response = await admin.create_topics([_new_topic(topic, replication_factor) for topic in topics])
    except KafkaError as error:
        raise BrokerError(f"Kafka created no topics: {describe(error)}") from error
    for name, code, text in response.topic_errors:
        if (kind := for_code(code)) not in _HARMLESS:
            raise BrokerError(f"Kafka refuses to create topic `{name}`: {kind.__name__}: {text or ''}")


def _new_topic(topic: TopicSpec, replication_factor: int) -> NewTopic:
    config: dict[str, str] = {}
    if topic.retention is not None:
        config["retention.ms"] = str(int(topic.retention * 1000))
    if topic.compact:
        config["cleanup.policy"] = "compact" if topic.retention is None else "compact,delete"
    # aiokafka lets -1, the broker's default, pass only beside an assignment of replicas; an empty one says nothing.
    return NewTopic(kafka_name(topic.name), topic.partitions, replication_factor, {}, config)


async def _led(admin: AIOKafkaAdminClient, created: Sequence[TopicSpec]) -> Mapping[str, int]:
    """The counts once every new topic is known with a leader for each partition."""
    names = {kafka_name(topic.name) for topic in created}
    try:
        async with asyncio.timeout(_LED_WITHIN):
            while True:
                found = {topic["topic"]: topic["partitions"] for topic in await _topics(admin)}
                led = {name for name in names & found.keys() if all(p["leader"] >= 0 for p in found[name])}
                if led == names:
                    return {name: len(partitions) for name, partitions in found.items()}
                await asyncio.sleep(_ASK_AGAIN_AFTER)
    except TimeoutError as error:
        raise BrokerError(
            f"Kafka created {', '.join(sorted(names))}, but not all partitions have a leader"
        ) from error


def _compare(topic: TopicSpec, partitions: int) -> None:
    """Another number of partitions breaks the order of keys; without order it is the operator's choice."""
    if topic.ordered and not topic.external and partitions != topic.partitions:
        raise TopicMismatch(
            f"topic `{topic.name}` has {partitions} partitions and is declared with {topic.partitions}: its keys are "
            "ordered, and with another count they move between partitions. Declare the count it has, or a new topic"
        )
