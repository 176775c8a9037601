from asyncio import Future
from collections.abc import Mapping

from aiokafka.cluster import ClusterMetadata

class _Connection:
    def connected(self) -> bool: ...

class AIOKafkaClient:
    cluster: ClusterMetadata
    _conns: Mapping[object, _Connection]
    def force_metadata_update(self) -> Future[bool]: ...
    async def close(self) -> None: ...
