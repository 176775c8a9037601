from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from aiokafka.client import AIOKafkaClient
from aiokafka.structs import OffsetAndMetadata, TopicPartition

class PartitionDescription(TypedDict):
    error_code: int
    partition: int
    leader: int

class TopicDescription(TypedDict):
    error_code: int
    topic: str
    partitions: list[PartitionDescription]

class RecordsToDelete:
    def __init__(self, before_offset: int) -> None: ...

class NewTopic:
    def __init__(
        self,
        name: str,
        num_partitions: int,
        replication_factor: int,
        replica_assignments: Mapping[int, Sequence[int]] | None = None,
        topic_configs: Mapping[str, str] | None = None,
    ) -> None: ...

class CreateTopicsResponse:
    topic_errors: list[tuple[str, int, str | None]]

class AIOKafkaAdminClient:
    _client: AIOKafkaClient
    def __init__(self, **options: Any) -> None: ...
    async def start(self) -> None: ...
    async def close(self) -> None: ...
    async def create_topics(
        self, new_topics: list[NewTopic], timeout_ms: int | None = None, validate_only: bool = False
    ) -> CreateTopicsResponse: ...
    async def delete_topics(self, topics: list[str], timeout_ms: int | None = None) -> object: ...
    async def delete_records(
        self, records_to_delete: Mapping[TopicPartition, RecordsToDelete], timeout_ms: int | None = None
    ) -> dict[TopicPartition, int]: ...
    async def describe_topics(self, topics: list[str] | None = None) -> list[TopicDescription]: ...
    async def describe_cluster(self) -> dict[str, Any]: ...
    async def list_consumer_group_offsets(
        self,
        group_id: str,
        group_coordinator_id: int | None = None,
        partitions: list[TopicPartition] | None = None,
    ) -> dict[TopicPartition, OffsetAndMetadata]: ...
