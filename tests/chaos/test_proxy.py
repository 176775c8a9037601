"""Bar 5: a network that cuts connections after so many bytes, swallows everything, or is slow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from eventwire.bus import Bus
from tests.chaos.conftest import KAFKA, Own
from tests.chaos.holdings import rss
from tests.chaos.journal import Step
from tests.chaos.load import Load
from tests.chaos.proxy import Fault, Proxy, proxied
from tests.chaos.report import Figures
from tests.chaos.scene import Scene
from tests.chaos.switches import full, sized
from tests.chaos.waiting import until

STEP, LAST = 64, 5120
CUTS = sized(6, LAST // STEP)
HEALED_EVERY = sized(3, 8)
DEADLINE, PATIENCE = 2.0, 15.0
"""`publish_timeout` of most, and of who has to live with the latency."""
HEALED = 15.0
HOLE = sized(2.0, 10.0)
LATENCY = 1.0
AT_ONCE = 5
GROWTH = 20 << 20


def load_of(own: Own, broker: str, proxy: Proxy, tmp_path: Path) -> Load:
    place = f"127.0.0.1:{proxy.port}"
    url = (
        f"kafka://{place}{KAFKA}&request_timeout_ms=5000"
        if broker == "kafka"
        else f"amqp://{place}/?heartbeat=2"
    )
    return Load(Scene(f"{url}&connect_timeout=2", str(tmp_path), partitions=2), DEADLINE)


def target(own: Own) -> int:
    """The port that the proxy connects to."""
    return int(own.server.urls.get("behind", own.server.url).rstrip("/").rpartition(":")[2])


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(600)
@pytest.mark.bar(5, "proxy that cuts after 64 to 5,120 bytes, black hole, 1 s latency")
@pytest.mark.parametrize("broker", ["kafka", "amqp"], indirect=True)
async def test_a_bad_network_loses_nothing(
    broker: str, own: Own, tmp_path: Path, rng: Random, figures: Figures
) -> None:
    places = [STEP * number for number in range(1, LAST // STEP + 1)]
    async with proxied(target(own), own.proxy) as proxy:
        load = load_of(own, broker, proxy, tmp_path)
        async with load.open() as bus:
            await bus.declare(load.scene.topic, groups=[load.scene.group])
            async with load.working():
                await heal(load, bus, proxy, "first")
                await cut(load, bus, proxy, places[: len(places) // 10] if full() else [])
                base = rss()
                await cut(load, bus, proxy, places if full() else sorted(rng.sample(places, CUTS)))
                await black_hole(load, bus, proxy)
                load.punctual()
                await slow(load, proxy)
                grown = rss() - base
                await load.settled()
    figures.faults = f"{proxy.cuts} connections cut, black hole of {HOLE:g} s, {LATENCY:g} s latency"
    figures.note(f"publishes: {load.told}; RSS +{grown >> 20} MiB")
    figures.judged(load.verdict())
    assert proxy.cuts >= CUTS, f"only {proxy.cuts} connections were cut"
    assert grown < GROWTH, f"RSS: {grown >> 20} MiB more"


async def cut(load: Load, bus: Bus, proxy: Proxy, places: Sequence[int]) -> None:
    """Cut what is open, and every new connection after so many bytes; in between everything may heal."""
    for number, place in enumerate(places, 1):
        proxy.fault = Fault(cut_after=place)
        proxy.cut()
        await at_once(load, bus, f"cut{number}-{place}")
        if number % HEALED_EVERY == 0:
            await heal(load, bus, proxy, f"healed{number}-{place}")
    await heal(load, bus, proxy, f"healed-{len(places)}")


async def at_once(load: Load, bus: Bus, key: str) -> None:
    """Publish some events, each once; whether they are confirmed is for the network to say."""
    await asyncio.gather(*(load.once(bus, Step(f"{key}-{number}", 0)) for number in range(AT_ONCE)))


async def heal(load: Load, bus: Bus, proxy: Proxy, key: str) -> None:
    """The network is well again: an event is confirmed and handled soon."""
    proxy.fault = Fault()
    step = Step(key, 0)

    async def confirmed() -> None:
        while not await load.once(bus, step):  # noqa: ASYNC110 - a publisher that backs off
            await asyncio.sleep(0.1)

    try:
        await asyncio.wait_for(confirmed(), HEALED)
    except TimeoutError:
        raise AssertionError(f"not healed within {HEALED:g} s: {key} is not confirmed, {load.told}") from None
    await until(lambda: load.handled(step), HEALED, f"not healed: {key} is not handled")


async def black_hole(load: Load, bus: Bus, proxy: Proxy) -> None:
    """Nothing comes through, and nobody says so."""
    proxy.fault = Fault(hole=True)
    hole = asyncio.create_task(asyncio.sleep(HOLE))
    number = 0
    while not hole.done():
        await at_once(load, bus, f"hole-{number}")
        number += 1
    await heal(load, bus, proxy, "out-of-the-hole")


async def slow(load: Load, proxy: Proxy) -> None:
    """Everything takes a second each way: who has the patience gets through."""
    impatient, load.timeout = load.timeout, PATIENCE
    async with load.open() as patient:
        await heal(load, patient, proxy, "patient")
        proxy.fault = Fault(latency=LATENCY)
        for number in range(2):
            await at_once(load, patient, f"slow-{number}")
        proxy.fault = Fault()
    load.punctual()
    load.timeout = impatient
    slowly = {Step(f"slow-{number}-{each}", 0) for number in range(2) for each in range(AT_ONCE)}
    assert slowly & load.confirmed, f"nobody got through: {load.told}"
