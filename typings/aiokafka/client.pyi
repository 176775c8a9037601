from asyncio import Future

from aiokafka.cluster import ClusterMetadata

class AIOKafkaClient:
    cluster: ClusterMetadata
    def force_metadata_update(self) -> Future[bool]: ...
    async def close(self) -> None: ...
