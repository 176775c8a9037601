"""Fixtures of the whole tree: the real servers, one of each per run."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import pytest

from tools import servers


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[servers.Server]:
    yield from _running(servers.kafka)


@pytest.fixture(scope="session")
def amqp_server() -> Iterator[servers.Server]:
    yield from _running(servers.rabbitmq)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[servers.Server]:
    yield from _running(servers.postgres)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[servers.Server]:
    yield from _running(servers.redis)


@pytest.fixture(scope="session")
def amqp_4_server() -> Iterator[servers.Server]:
    yield from _running(servers.rabbitmq_4)


def _running(start: Callable[[], AbstractContextManager[servers.Server]]) -> Iterator[servers.Server]:
    """A laptop may lack a server: its tests are NOT RUN. CI may not: they fail."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(start())
        except servers.Unavailable as missing:
            if os.environ.get("CI") == "true":
                pytest.fail(f"NOT RUN: {missing}")
            pytest.skip(f"NOT RUN: {missing}")
        yield server
