"""The same servers in containers, by the project's compose.yaml, where a Docker engine answers."""

import os
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from .probe import amqp_ready, kafka_ready, postgres_ready, redis_ready
from .process import Program, Supervised, environment, free_ports
from .server import Server

COMPOSE_FILE = Path(__file__).parents[2] / "compose.yaml"
START_WITHIN = 600.0  # the first start pulls the image

READY: dict[str, Callable[[int], bool]] = {
    "kafka": kafka_ready,
    "rabbitmq": amqp_ready,
    "postgres": postgres_ready,
    "redis": redis_ready,
}
URL = {
    "kafka": "kafka://127.0.0.1:{}",
    "rabbitmq": "amqp://guest:guest@127.0.0.1:{}/",
    "postgres": "postgresql+psycopg://postgres@127.0.0.1:{}/postgres",
    "redis": "redis://127.0.0.1:{}/0",
}


def answers() -> bool:
    """Whether a Docker engine with compose may be used: EVENTWIRE_NO_DOCKER=1 refuses it."""
    if os.environ.get("EVENTWIRE_NO_DOCKER", "") not in ("", "0"):
        return False
    return _succeeds("docker", "info") and _succeeds("docker", "compose", "version")


@contextmanager
def container(service: str) -> Generator[Server]:
    """A service of compose.yaml in a compose project of its own; removed with its volumes afterwards."""
    (port,) = free_ports(1)
    with Supervised(service) as supervised:
        compose = ["docker", "compose", "-f", str(COMPOSE_FILE), "-p", supervised.folder.name.lower()]
        program = Program(
            [*compose, "up", "--no-color", service],
            environment() | {f"EVENTWIRE_{service.upper()}_PORT": str(port)},
            lambda: READY[service](port),
            cleanup=[*compose, "down", "--volumes", "--timeout", "1"],
        )
        supervised.start(program, START_WITHIN)
        yield Server(URL[service].format(port), f"Docker's {service}")


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
