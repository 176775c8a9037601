from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from eventwire.holding import Holding
from eventwire.middleware.delayed import DUE
from eventwire.transport import Delivery, TopicPartition
from tests.unit.fakes import FakeDelivery

LEVEL = "shop.v1.g.retry.60s"


def held(partition: int, *, seconds: float = 60.0) -> FakeDelivery:
    delivery = FakeDelivery(topic=LEVEL, partition=partition)
    delivery.message.headers = ((DUE, b"%.3f" % (time.time() + seconds)),)
    return delivery


async def test_of_a_partition_that_is_given_up_nothing_is_handled_later() -> None:
    passed: list[Delivery] = []
    holding = Holding({LEVEL: 60.0}, passed.extend)
    ours, theirs = held(0), held(1, seconds=0.05)
    holding.pass_on([ours, theirs])
    holding.give_back([TopicPartition(LEVEL, 1)])
    assert (ours.settled, theirs.settled, len(holding)) == (None, "released", 1)
    due = held(2, seconds=0.1)
    holding.pass_on([due])
    async with asyncio.timeout(10):
        while due not in passed:  # noqa: ASYNC110  nothing tells when
            await asyncio.sleep(0.01)
    assert passed == [due]  # though theirs would have been due before


async def test_what_is_due_or_never_waits_goes_on_at_once() -> None:
    passed: list[Delivery] = []

    def let_go(deliveries: Iterable[Delivery]) -> None:
        passed.extend(deliveries)

    holding = Holding({LEVEL: 60.0}, let_go)
    late, other = held(0, seconds=-1.0), FakeDelivery()
    holding.pass_on([late, other])
    assert (passed, len(holding)) == ([late, other], 0)
