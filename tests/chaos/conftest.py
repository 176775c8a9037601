"""Fixtures of the fault suite. A bar is a test with `@pytest.mark.bar(NUMBER, FAULT)` and the parameter `broker`."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.chaos import mutants
from tests.chaos.authority import Authority
from tests.chaos.report import Figures, Recording
from tests.chaos.switches import SEED, full, random_of, seed
from tools import servers
from tools.servers.process import free_ports

KAFKA = "?session_timeout_ms=4000&heartbeat_interval_ms=500&rebalance_timeout_ms=12000"
_SQLITE = "?lease=1&poll=0.01"
_OUTCOME = pytest.StashKey[bool]()

mutants.apply()


def pytest_report_header() -> str:
    """The seed, so that a run can be repeated."""
    return f"chaos: {SEED}={seed()}, {'full' if full() else 'short'} form"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure tells the seed, and the figures whether the bar passed."""
    report = yield
    if report.when == "call":
        item.stash[_OUTCOME] = report.passed
    if report.failed:
        report.sections.append(("chaos", f"repeat its faults with {SEED}={seed()}"))
    return report


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> Random:
    """The test's dice."""
    return random_of(request.node.nodeid)


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> str:
    """The broker's kind; parametrize it: `@pytest.mark.parametrize("broker", ["sqlite"], indirect=True)`."""
    return str(request.param)


@pytest.fixture
def url(broker: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The broker's URL, with leases and sessions so short that a killed member is missed within seconds."""
    match broker:
        case "memory":
            return f"memory://{tmp_path.name}"
        case "sqlite":
            return f"sqlite:///{tmp_path / 'chaos.db'}{_SQLITE}"
        case "kafka":
            return f"{request.getfixturevalue('kafka_server').url}{KAFKA}"
        case server:
            return str(request.getfixturevalue(f"{server}_server").url)


@pytest.fixture
def calm_url(url: str) -> str:
    """The broker's URL with leases and sessions as users have them: for bars that kill nobody."""
    return url.replace(_SQLITE, "?poll=0.05").removesuffix(KAFKA)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    """The bar's row in docs/reliability.md."""
    mark = request.node.get_closest_marker("bar")
    broker = request.getfixturevalue("broker") if "broker" in request.fixturenames else ""
    number, fault = mark.args
    recording = Recording(Figures(request.node.nodeid, number, fault, broker))
    yield recording.figures
    recording.end(passed=request.node.stash.get(_OUTCOME, False))


@dataclass(frozen=True)
class Own:
    """A server that a test may kill and suspend.

    Kafka sends who came by `urls["behind"]` on to `proxy`, a free port.
    """

    server: servers.Server
    proxy: int


@pytest.fixture(scope="session")
def own_kafka() -> Iterator[Own]:
    (port,) = free_ports(1)
    yield from _own(lambda: servers.kafka(options=servers.Options(advertised=port)), port)


@pytest.fixture(scope="session")
def own_amqp() -> Iterator[Own]:
    (port,) = free_ports(1)
    yield from _own(lambda: servers.rabbitmq(private=True), port)


@pytest.fixture
def own(broker: str, request: pytest.FixtureRequest) -> Own:
    """The broker's own server, running and awake."""
    found: Own = request.getfixturevalue(f"own_{broker}")
    _awake(found.server)
    return found


def _awake(server: servers.Server) -> None:
    """Whatever the test before left: a failed one may not have woken it."""
    server.resume()
    server.start()


def _own(start: Callable[[], AbstractContextManager[servers.Server]], port: int) -> Iterator[Own]:
    """As the fixtures of the whole tree: a laptop may lack a server, CI may not."""
    try:
        with start() as server:
            yield Own(server, port)
    except servers.Unavailable as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"NOT RUN: {missing}")
        pytest.skip(f"NOT RUN: {missing}")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the servers' certificates."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def tls_kafka(authority: Authority) -> Iterator[Own]:
    yield from _own(lambda: servers.kafka(options=servers.Options(tls=authority.tls())), 0)


@pytest.fixture(scope="session")
def tls_amqp(authority: Authority) -> Iterator[Own]:
    yield from _own(lambda: servers.rabbitmq(options=servers.Options(tls=authority.tls())), 0)


@pytest.fixture
def secure(broker: str, request: pytest.FixtureRequest) -> servers.Server:
    """A server with a TLS listener, where one has to log in."""
    found: Own = request.getfixturevalue(f"tls_{broker}")
    _awake(found.server)
    return found.server
