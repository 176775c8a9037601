from collections.abc import Coroutine

from aiokafka.structs import TopicPartition

class ConsumerRebalanceListener:
    def on_partitions_revoked(
        self, revoked: set[TopicPartition]
    ) -> Coroutine[object, object, None] | None: ...
    def on_partitions_assigned(
        self, assigned: set[TopicPartition]
    ) -> Coroutine[object, object, None] | None: ...
