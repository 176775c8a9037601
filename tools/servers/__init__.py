"""Real Kafka and RabbitMQ for tests, demo and benchmarks.

    with servers.kafka() as server:
        server.url  # kafka://127.0.0.1:PORT

A server is, in this order: the one that EVENTWIRE_TEST_KAFKA_URL or EVENTWIRE_TEST_AMQP_URL names; a
container where `docker info` answers (EVENTWIRE_NO_DOCKER=1 refuses it); a private process on this machine
in a temporary folder. What was started is gone when the block ends, and also when this process is killed.
`Unavailable` says in one line why there is none.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from . import docker, kafka_node, rabbitmq_node
from .errors import NotOurs, StartFailed, Unavailable
from .server import Server

KAFKA_URL = "EVENTWIRE_TEST_KAFKA_URL"
AMQP_URL = "EVENTWIRE_TEST_AMQP_URL"

__all__ = [
    "AMQP_URL",
    "KAFKA_URL",
    "NotOurs",
    "Server",
    "StartFailed",
    "Unavailable",
    "kafka",
    "rabbitmq",
    "rabbitmq_4",
]


def kafka(*, private: bool = False) -> AbstractContextManager[Server]:
    """Kafka, ready for clients when the block is entered. Raises Unavailable or StartFailed there.

    `private` demands a process of our own, whatever the environment names: for tests that kill it.
    """
    return _open(KAFKA_URL, "kafka", kafka_node.node, private)


def rabbitmq(*, private: bool = False) -> AbstractContextManager[Server]:
    """RabbitMQ, ready for clients when the block is entered. Raises Unavailable or StartFailed there.

    `private` demands a process of our own, whatever the environment names: for tests that kill it.
    """
    return _open(AMQP_URL, "rabbitmq", rabbitmq_node.node, private)


def rabbitmq_4() -> AbstractContextManager[Server]:
    """RabbitMQ 4, always a private process, on Debian. Raises Unavailable or StartFailed."""
    return rabbitmq_node.node(rabbitmq_node.fetch_4)


def _open(
    variable: str, service: str, node: Callable[[], AbstractContextManager[Server]], private: bool
) -> AbstractContextManager[Server]:
    if private:
        return node()
    if url := os.environ.get(variable):
        return nullcontext(Server(url, f"the server of {variable}"))
    return docker.container(service) if docker.answers() else node()
