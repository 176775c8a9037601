"""Bar 15: who is not what its certificate says, or has none, is refused before it is told a secret."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from eventwire.bus import Bus
from eventwire.context import Context
from eventwire.errors import Unreachable
from eventwire.worker import Worker
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.chaos.authority import CANARY, USER, Authority
from tests.chaos.handlers import handler_of
from tests.chaos.journal import Step
from tests.chaos.recorder import recording
from tests.chaos.report import Figures
from tests.chaos.scene import Scene, order, step_of
from tests.chaos.waiting import until
from tools import servers

TIMEOUT = 2.0
SLACK = 1.5
"""Seconds for finding out what to do about it, and for a busy machine."""
PATIENCE = 10.0


@dataclass(frozen=True)
class Dialect:
    """How a transport says it."""

    plain: str
    secure: str
    authority: str
    unverified: str

    def url(self, place: str, *options: str, secure: bool = True, timeout: float = TIMEOUT) -> str:
        scheme = self.secure if secure else self.plain
        query = "&".join((f"connect_timeout={timeout}", *options))
        return f"{scheme}://{USER}:{CANARY}@{place}?{query}"


DIALECTS = {
    "kafka": Dialect("kafka", "kafka+ssl", "ssl_cafile", "ssl_verify=false"),
    "amqp": Dialect("amqp", "amqps", "cafile", "no_verify_ssl=true"),
}
BROKERS = pytest.mark.parametrize("broker", sorted(DIALECTS), indirect=True)


def place_of(url: str) -> str:
    """Host and port, without credentials."""
    return url.partition("://")[2].rpartition("@")[2].rstrip("/")


async def refused(url: str) -> str:
    """The error's text; it comes within the timeout, is typed, and tells no secret."""
    began = time.monotonic()
    with pytest.raises(Unreachable) as caught:
        async with Bus(url):
            pass
    took = time.monotonic() - began
    assert took < TIMEOUT + SLACK, f"refused after {took:.1f} s, the timeout is {TIMEOUT:g}"
    assert CANARY not in "".join(map(repr, (caught.value, caught.value.__cause__, caught.value.__context__)))
    return str(caught.value)


@pytest.mark.server
@pytest.mark.bar(
    15, "a real server's certificate: of an unknown authority, for another host; plaintext and TLS mixed up"
)
@BROKERS
async def test_a_server_that_cannot_be_verified_is_refused(
    broker: str, secure: servers.Server, authority: Authority, figures: Figures
) -> None:
    dialect, tls, plain = DIALECTS[broker], place_of(secure.urls["tls"]), place_of(secure.url)
    known = f"{dialect.authority}={authority.file}"
    cases = {
        dialect.url(tls): f"`{dialect.authority}=FILE`",
        dialect.url(tls, f"{dialect.authority}={authority.other}"): f"`{dialect.authority}=FILE`",
        dialect.url(
            tls.replace("localhost", "127.0.0.1"), known
        ): "by a name that the broker's certificate has",
        dialect.url(tls, secure=False): f"use `{dialect.secure}://`",
        dialect.url(plain, known): f"or `{dialect.plain}://`",
    }
    for url, advice in cases.items():
        text = await refused(url)
        assert advice in text, f"says not what to do: {text}"
    figures.events, figures.faults = (
        len(cases),
        f"{len(cases)} wrong servers, all refused within {TIMEOUT:g} s",
    )


@pytest.mark.server
@pytest.mark.bar(15, "the same server with the right authority, and unverified because somebody said so")
@BROKERS
async def test_a_server_that_can_be_verified_carries_events(
    broker: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    figures: Figures,
    caplog: pytest.LogCaptureFixture,
) -> None:
    secure: servers.Server = request.getfixturevalue("secure")
    authority: Authority = request.getfixturevalue("authority")
    dialect, tls = DIALECTS[broker], place_of(secure.urls["tls"])
    known = f"{dialect.authority}={authority.file}"
    await carried(Scene(dialect.url(tls, known, timeout=PATIENCE), str(tmp_path)))
    assert "verified" not in caplog.text
    with caplog.at_level(logging.WARNING):
        await carried(Scene(dialect.url(tls, dialect.unverified, timeout=PATIENCE), str(tmp_path)))
    assert any(
        "verified" in record.getMessage() for record in caplog.records if record.name.startswith("eventwire")
    )
    assert CANARY not in caplog.text
    figures.events, figures.faults = 2, "none"


async def carried(scene: Scene) -> None:
    """An event makes its way."""
    seen: set[Step] = set()

    async def handle(event: OrderPlaced, context: Context) -> None:
        seen.add(step_of(event))

    async with scene.open() as bus:
        await bus.declare(scene.topic, groups=[scene.group])
        async with Worker(bus, handler_of(scene.topic, handle), group=scene.group):
            await bus.publish(scene.topic, order(Step("k", 1)))
            await until(lambda: bool(seen), 30, "the event is handled")


@pytest.mark.bar(
    15, "what a server gets to hear before it is refused: wrong authority, wrong host, expired, no TLS"
)
@BROKERS
async def test_nothing_is_told_to_a_server_that_is_refused(
    broker: str, authority: Authority, figures: Figures
) -> None:
    dialect, known = DIALECTS[broker], f"{DIALECTS[broker].authority}={authority.file}"
    good, elsewhere = authority.context(), authority.context("elsewhere.example")
    expired = authority.context(expired=True)
    cases = {
        "unknown authority": (good, dialect.authority + f"={authority.other}", "=FILE`"),
        "another host": (elsewhere, known, "by a name"),
        "expired": (expired, known, "new certificate"),
    }
    for name, (context, option, advice) in cases.items():
        async with recording(context) as server:
            text = await refused(dialect.url(f"localhost:{server.port}", option))
        assert advice in text, f"{name}: says not what to do: {text}"
        assert server.received == b"", f"{name}: told {server.received!r}"
    async with recording() as silent:
        await refused(dialect.url(f"127.0.0.1:{silent.port}", secure=False))
    assert silent.received, "nothing was recorded: the recorder proves nothing"
    assert CANARY.encode() not in silent.received, f"plaintext: told {silent.received!r}"
    async with recording(good) as trusted:
        await refused(dialect.url(f"localhost:{trusted.port}", known))
    assert trusted.received, "nothing was recorded: the recorder proves nothing"
    figures.events, figures.faults = len(cases) + 1, f"{len(cases) + 1} wrong servers, 0 bytes of credentials"
