"""Real Kafka, RabbitMQ, PostgreSQL and Redis for tests, demo and benchmarks.

    with servers.kafka() as server:
        server.url  # kafka://127.0.0.1:PORT

A server is, in this order: the one that EVENTWIRE_TEST_KAFKA_URL, EVENTWIRE_TEST_AMQP_URL,
EVENTWIRE_TEST_REDIS_URL or EVENTWIRE_TEST_POSTGRES_URL (as SQLAlchemy takes it) names; a container where
`docker info` answers (EVENTWIRE_NO_DOCKER=1 refuses it); a private process on this machine in a temporary
folder. What was started is gone when the block ends, and also when this process is killed.
`Unavailable` says in one line why there is none.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from . import docker, kafka_node, postgres_node, rabbitmq_node, redis_node
from .errors import NotOurs, StartFailed, Unavailable
from .options import Options, Tls
from .server import Server

KAFKA_URL = "EVENTWIRE_TEST_KAFKA_URL"
AMQP_URL = "EVENTWIRE_TEST_AMQP_URL"
POSTGRES_URL = "EVENTWIRE_TEST_POSTGRES_URL"
REDIS_URL = "EVENTWIRE_TEST_REDIS_URL"

__all__ = [
    "AMQP_URL",
    "KAFKA_URL",
    "POSTGRES_URL",
    "REDIS_URL",
    "NotOurs",
    "Options",
    "Server",
    "StartFailed",
    "Tls",
    "Unavailable",
    "kafka",
    "postgres",
    "rabbitmq",
    "rabbitmq_4",
    "redis",
]


def kafka(*, private: bool = False, options: Options | None = None) -> AbstractContextManager[Server]:
    """Kafka, ready for clients when the block is entered. Raises Unavailable or StartFailed there.

    `private` demands a process of our own, whatever the environment names: for tests that kill it. So do `options`.
    """
    return _open(
        KAFKA_URL, "kafka", partial(kafka_node.node, options or Options()), private or options is not None
    )


def rabbitmq(*, private: bool = False, options: Options | None = None) -> AbstractContextManager[Server]:
    """RabbitMQ, ready for clients when the block is entered. Raises Unavailable or StartFailed there.

    `private` demands a process of our own, whatever the environment names: for tests that kill it. So do `options`.
    """
    return _open(
        AMQP_URL,
        "rabbitmq",
        partial(rabbitmq_node.node, options or Options()),
        private or options is not None,
    )


def postgres(*, private: bool = False) -> AbstractContextManager[Server]:
    """PostgreSQL, ready for clients when the block is entered; `url` is SQLAlchemy's, for psycopg.

    `private` demands a process of our own. Raises Unavailable or StartFailed.
    """
    return _open(POSTGRES_URL, "postgres", postgres_node.node, private)


def redis(*, private: bool = False) -> AbstractContextManager[Server]:
    """Redis, ready for clients when the block is entered. Raises Unavailable or StartFailed there.

    `private` demands a process of our own, whatever the environment names: for tests that kill it.
    """
    return _open(REDIS_URL, "redis", redis_node.node, private)


def rabbitmq_4() -> AbstractContextManager[Server]:
    """RabbitMQ 4, always a private process, on Debian. Raises Unavailable or StartFailed."""
    return rabbitmq_node.node(Options(), rabbitmq_node.fetch_4)


def _open(
    variable: str, service: str, node: Callable[[], AbstractContextManager[Server]], private: bool
) -> AbstractContextManager[Server]:
    if private:
        return node()
    if url := os.environ.get(variable):
        return nullcontext(Server(url, f"the server of {variable}"))
    return docker.container(service) if docker.answers() else node()
