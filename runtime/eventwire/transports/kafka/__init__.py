"""Apache Kafka over aiokafka."""

from eventwire.transports.kafka.transport import KafkaTransport

__all__ = ["KafkaTransport"]
