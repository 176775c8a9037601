"""RabbitMQ over AMQP 0-9-1, by aio-pika."""

import aio_pika as aio_pika  # first, before its parts such as pamqp: without it, it is what is said to be missing

from eventwire.transports.amqp.transport import AmqpTransport

__all__ = ["AmqpTransport"]
