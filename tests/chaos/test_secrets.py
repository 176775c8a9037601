"""Bar 16: a canary in URL, environment, header and redacted field is found in no log, error, repr, health page."""

from __future__ import annotations

import asyncio
import logging
import urllib.error
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from eventwire.bus import Bus
from eventwire.context import Context
from eventwire.errors import EventwireError, UrlError
from eventwire.pages import health_pages
from eventwire.policy import BreakerPolicy
from eventwire.transport import Subscription
from eventwire.worker import Worker
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.chaos.authority import CANARY, USER, Authority
from tests.chaos.canary import FIELD, HEADER, found, in_error, in_objects, listening
from tests.chaos.handlers import handler_of
from tests.chaos.journal import Step
from tests.chaos.report import Figures
from tests.chaos.scene import Scene, order, step_of
from tests.chaos.test_tls import DIALECTS, PATIENCE, place_of
from tests.chaos.waiting import until
from tools import servers

FAILS, HANGS = "fails", "hangs"
DEADLINE = 1.0


class Search:
    """Collects hits; `looked` counts the places."""

    def __init__(self) -> None:
        self.hits: list[str] = []
        self.looked = 0

    def look(self, hits: list[str]) -> None:
        self.looked += 1
        self.hits += hits

    async def error(self, work: Any) -> None:
        """Something that must fail, with an error of ours."""
        with pytest.raises(EventwireError) as caught:
            await work
        self.look(in_error(caught.value))


def malformed(scheme: str, place: str) -> list[str]:
    """URLs that are wrong in a way that may show the secret."""
    return [
        f"{scheme}://{USER}:{CANARY}@{place}?no_such_option=1",
        f"{scheme}://{USER}:{CANARY}#x@{place}",
        f"{scheme}://{USER}:{CANARY}/x@{place}",
        f"{scheme}://{USER}:{CANARY}?x@{place}",
        f"{scheme}://{USER}:{CANARY}@{place}:{CANARY}",
        f"{scheme}://{place}:{CANARY}",
        f"{scheme}://{USER}:{CANARY}@{place}?connect_timeout=x",
        f"{scheme}://{USER}:{CANARY}@{place}?password={CANARY}",
        f"nosuch://{USER}:{CANARY}@{place}",
        f"{USER}:{CANARY}@{place}",
    ]


@pytest.fixture
def address(broker: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Where the broker is, with the canary as password where there is one."""
    if broker in DIALECTS:
        server: servers.Server = request.getfixturevalue("secure")
        authority: Authority = request.getfixturevalue("authority")
        dialect = DIALECTS[broker]
        known = f"{dialect.authority}={authority.file}"
        return dialect.url(place_of(server.urls["tls"]), known, timeout=PATIENCE)
    return f"sqlite:///{tmp_path / 'canary.db'}" if broker == "sqlite" else f"memory://{tmp_path.name}"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.bar(
    16, "canary password in URL, environment, headers, redacted fields; everything logs at DEBUG"
)
@pytest.mark.parametrize(
    "broker",
    [
        "memory",
        "sqlite",
        pytest.param("kafka", marks=pytest.mark.server),
        pytest.param("amqp", marks=pytest.mark.server),
    ],
    indirect=True,
)
async def test_a_secret_is_found_nowhere(
    broker: str, address: str, tmp_path: Path, request: pytest.FixtureRequest, figures: Figures
) -> None:
    search = Search()
    request.getfixturevalue("monkeypatch").setenv("EVENTWIRE_CANARY", CANARY)
    with listening() as listener:
        urls(search, broker)
        scene = Scene(address, str(tmp_path), retry={"max_attempts": 2})
        if broker in DIALECTS:
            await strangers(search, address)
        await work(search, scene)
        if broker in DIALECTS:
            await outage(search, scene, request.getfixturevalue("secure"))
    search.look(listener.hits)
    figures.events, figures.faults = search.looked, f"{search.looked} places"
    figures.note(f"{listener.lines:,} log lines")
    places = sorted({hit.partition(":")[0] for hit in search.hits})
    assert not search.hits, f"{len(search.hits)} hits in {places}, first {search.hits[0]}"


def urls(search: Search, broker: str) -> None:
    for url in malformed(DIALECTS[broker].secure if broker in DIALECTS else broker, "localhost"):
        with pytest.raises(EventwireError) as caught:
            Bus(url)
        assert isinstance(caught.value, UrlError), repr(caught.value)
        search.look(in_error(caught.value))


async def strangers(search: Search, address: str) -> None:
    """A server that is not there, one that cannot be verified, and one that refuses the password."""
    for url in (
        address.replace("localhost", "127.0.0.1"),
        address.partition("?")[0].rpartition(":")[0] + ":1?connect_timeout=1",
        address.replace(f":{CANARY}@", f":{CANARY}-wrong@"),
    ):
        bus = Bus(url)
        search.look(in_objects([bus]))
        await search.error(bus.start())


async def work(search: Search, scene: Scene) -> None:
    """Publish and handle, in every way that goes wrong."""
    seen: set[Step] = set()

    async def handle(event: OrderPlaced, context: Context) -> None:
        search.look(found("repr of a context", f"{context!r} {context.delivery!r}"))
        search.look(found("repr of a message", repr(context.message)))
        if event.voucher == FAILS:
            raise ValueError("no such voucher")
        if event.voucher == HANGS:
            await asyncio.sleep(60)
        seen.add(step_of(event))

    async with scene.open() as bus:
        await bus.declare(scene.topic, groups=[scene.group])
        worker = Worker(
            bus, handler_of(scene.topic, handle), group=scene.group, timeout=0.3,
            breaker=BreakerPolicy(failures=10**9), transient=(),
        )  # fmt: skip
        async with worker, health_pages(worker, port=0, host="127.0.0.1") as port:
            for number, kind in enumerate(("", FAILS, HANGS)):
                await bus.publish(
                    scene.topic, secret(Step("k", number), kind), headers={"authorization": HEADER}
                )
            route = await bus.route(scene.topic)
            for start, end in ((b"", 3), (b"\xff", 0), (b"\n", 9)):
                message = route.write(secret(Step("k", 9), ""), {"a": HEADER}, None, None)
                message.body = start + (message.body or b"")[: -end or None]
                await bus.transport(scene.topic).publish(scene.spec, message)
            await search.error(bus.publish(scene.topic, secret(Step("", 1), ""), headers={"a": HEADER}))
            await search.error(bus.publish(scene.topic, secret(Step("k", 1), ""), headers={"a\r\n": HEADER}))
            await until(
                lambda: worker.counts.dead_lettered >= 5 and bool(seen), 60, lambda: str(worker.counts)
            )
            search.look(in_objects([bus, worker]))
            search.look(found("health", repr((worker.health(), asdict(worker.health()), await bus.health()))))
            await pages(search, port)
            await graves(search, bus, scene)


def secret(step: Step, kind: str) -> OrderPlaced:
    event = order(step, kind=kind)
    event.email = FIELD
    return event


async def pages(search: Search, port: int) -> None:
    for path in ("/livez", "/readyz", "/healthz", "/", f"/{CANARY[:3]}"):
        search.look(found(f"page {path}", await asyncio.to_thread(fetched, f"http://127.0.0.1:{port}{path}")))


def fetched(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own pages
            return f"{answer.headers} {answer.read()!r}"
    except urllib.error.HTTPError as error:
        return f"{error.headers} {error.read()!r}"


async def graves(search: Search, bus: Bus, scene: Scene) -> None:
    """What dead letters say of themselves; the original, which they keep whole, is the group's own."""
    consumer = await bus.transport(scene.topic).subscribe(Subscription("morgue", (scene.dead,)))
    letters = 0
    async with asyncio.timeout(30):
        while letters < 5:
            for delivery in await consumer.fetch(10):
                ours = [each for each in delivery.message.headers if each[0].startswith("eventwire_")]
                search.look(found("dead letter", repr(ours)))
                delivery.ack()
                letters += 1
    await consumer.close()


async def outage(search: Search, scene: Scene, server: servers.Server) -> None:
    """The broker freezes, is killed, and comes back."""
    async with Bus(scene.url, publish_timeout=DEADLINE) as bus:
        await bus.publish(scene.topic, secret(Step("k", 20), ""), headers={"a": HEADER})
        await asyncio.to_thread(server.suspend)
        await search.error(bus.publish(scene.topic, secret(Step("k", 21), ""), headers={"a": HEADER}))
        await asyncio.to_thread(server.kill)
        await search.error(bus.publish(scene.topic, secret(Step("k", 22), ""), headers={"a": HEADER}))
        search.look(found("health", repr(await bus.health(within=1.0))))
        await asyncio.to_thread(server.start)
        search.look(in_objects([bus]))
        logging.getLogger("tests").debug("the broker is back")
