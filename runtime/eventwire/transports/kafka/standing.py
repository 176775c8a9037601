"""Where a group stands in a topic, asked from outside of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka import OffsetAndMetadata
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, NoError, for_code
from aiokafka.protocol.offset import OffsetRequest

from eventwire.errors import BrokerError
from eventwire.transport import TopicSpec
from eventwire.transports.kafka.faults import describe
from eventwire.transports.kafka.names import kafka_name
from eventwire.transports.kafka.topics import leaders, topic_missing

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
_LATEST, _EARLIEST = -1, -2
_NO_REPLICA = -1
_READ_COMMITTED = 1


async def lag(admin: AIOKafkaAdminClient, topic: TopicSpec, group: str, *, patience: float) -> int:
    """How many offsets of the topic the group has not committed. Raises TopicMissing and BrokerError.

    `patience` is how many seconds the group's coordinator may take to be found.
    """
    found = (await leaders(admin)).get(kafka_name(topic.name))
    if found is None:
        raise topic_missing(topic.name)
    partitions = {KafkaPartition(kafka_name(topic.name), number): node for number, node in found.items()}
    try:
        committed = await _committed(admin, group, list(partitions), patience)
        ends = await _offsets(admin, partitions, _LATEST)
        begins = await _offsets(admin, partitions, _EARLIEST)
    except KafkaError as error:
        raise BrokerError(f"Kafka does not tell the lag of group `{group}`: {describe(error)}") from error
    return sum(
        max(0, end - max(begins[partition], committed[partition].offset if partition in committed else 0))
        for partition, end in ends.items()
    )


async def _committed(
    admin: AIOKafkaAdminClient, group: str, partitions: list[KafkaPartition], patience: float
) -> Mapping[KafkaPartition, OffsetAndMetadata]:
    """Asked again where the group's coordinator is just being found, or loads. Raises KafkaError.

    A broker's first group has it make the topic of all groups first, which takes a slow one some seconds.
    """
    loop = asyncio.get_running_loop()
    until, pause = loop.time() + patience, _FIRST_PAUSE
    while True:
        try:
            return await admin.list_consumer_group_offsets(group, partitions=partitions)
        except KafkaError as error:
            if not error.retriable or loop.time() >= until:
                raise
        await asyncio.sleep(min(pause, max(0.0, until - loop.time())))
        pause = min(pause * 2, _LONGEST_PAUSE)


async def _offsets(
    admin: AIOKafkaAdminClient, partitions: Mapping[KafkaPartition, int], which: int
) -> Mapping[KafkaPartition, int]:
    """The first or the last offset of each partition, asked from its leader. Raises KafkaError."""
    by_leader: dict[int, list[KafkaPartition]] = {}
    for partition, node in partitions.items():
        by_leader.setdefault(node, []).append(partition)
    offsets: dict[KafkaPartition, int] = {}
    for node, led in by_leader.items():
        asked = [(led[0].topic, [(partition.partition, which) for partition in led])]
        # aiokafka's administration has no call for it.
        # Private, since aiokafka's admin client has no call for a log's ends.
        answer = await admin._client.send(node, OffsetRequest(_NO_REPLICA, _READ_COMMITTED, asked))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        for name, answers in answer.topics:
            for number, code, *said in answers:
                if (kind := for_code(code)) is not NoError:
                    raise kind(name, number)
                offsets[KafkaPartition(name, number)] = int(said[-1])
    return offsets
