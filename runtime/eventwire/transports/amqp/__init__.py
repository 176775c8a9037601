"""RabbitMQ over AMQP 0-9-1, by aio-pika."""

from eventwire.transports.amqp.transport import AmqpTransport

__all__ = ["AmqpTransport"]
