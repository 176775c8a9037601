from __future__ import annotations

import asyncio

import pytest

from eventwire.errors import Closed, UrlError
from eventwire.transport import DriverOptions, Subscription
from eventwire.transports.devnull import DevnullTransport
from eventwire.url import BrokerUrl
from tests.unit.transports.support import ORDERS, nothing, order


def transport(url: str = "devnull://") -> DevnullTransport:
    return DevnullTransport(BrokerUrl.parse(url), DriverOptions())


async def test_it_warns_each_time(caplog: pytest.LogCaptureFixture) -> None:
    devnull = transport()
    await devnull.connect()
    await devnull.declare([ORDERS], ["g"])
    await devnull.check([ORDERS], ["g"])
    assert (await devnull.publish(ORDERS, order(1))).offset is None
    assert len(await devnull.publish_many(ORDERS, [order(2), order(3)])) == 2
    dropped = [record for record in caplog.records if "dropped message" in record.getMessage()]
    assert [record.args for record in dropped] == [(f"id-{n}", "orders") for n in (1, 2, 3)]
    assert all(record.levelname == "WARNING" for record in caplog.records)


async def test_it_delivers_nothing_and_claims_everything_vacuously() -> None:
    devnull = transport()
    assert devnull.features.vacuous
    assert devnull.features.ordering
    consumer = await devnull.subscribe(Subscription("g", (ORDERS,)))
    await devnull.publish(ORDERS, order(1))
    assert await nothing(consumer)
    waiting = asyncio.ensure_future(consumer.fetch(1))
    await asyncio.sleep(0)
    await devnull.close()
    with pytest.raises(Closed):
        await waiting
    with pytest.raises(Closed):
        await devnull.publish(ORDERS, order(1))


@pytest.mark.parametrize("url", ["devnull://host", "devnull://?a=b", "devnull:///path"])
def test_bad_urls(url: str) -> None:
    with pytest.raises(UrlError):
        transport(url)


def test_driver_options_are_refused() -> None:
    with pytest.raises(UrlError, match="no client"):
        DevnullTransport(BrokerUrl.parse("devnull://"), DriverOptions(admin={"a": 1}))
