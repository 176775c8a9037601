"""From a handler's failure to its success, through dead letter and replay."""

from __future__ import annotations

from pathlib import Path

import pytest
from typing_extensions import override

from eventwire import Bus, Context, Reject, Worker
from eventwire.dead_letters import DeadLetters, Selection
from tests.unit.shop import ORDERS, OrdersHandler, OrdersPublisher, Placed
from tests.unit.transports.support import until


class Billing(OrdersHandler):
    """Refuses everything until it is mended."""

    def __init__(self) -> None:
        self.mended = False
        self.handled: list[tuple[str, str, str]] = []

    @override
    async def on_placed(self, event: Placed, context: Context) -> None:
        if not self.mended:
            raise Reject("broken")
        self.handled.append(
            (context.id, event.order_id, (context.message.header("eventwire_replayed") or b"").decode())
        )


@pytest.mark.parametrize("broker", ["memory", "sqlite"])
async def test_a_replay_reaches_the_group_that_failed_and_no_other(broker: str, tmp_path: Path) -> None:
    url = "memory://" if broker == "memory" else f"sqlite:///{tmp_path}/broker.db?poll=0.005"
    billing, audit = Billing(), Billing()
    audit.mended = True
    async with Bus(url, declare=True) as bus:
        letters = DeadLetters(bus, ORDERS, "billing")
        async with Worker(bus, billing, group="billing") as worker, Worker(bus, audit, group="audit"):
            for number in range(4):
                await OrdersPublisher(bus).publish(Placed(order_id=f"o-{number}"), id=f"id-{number}")
            await until(lambda: worker.counts.dead_lettered == 4 and len(audit.handled) == 4)
            billing.mended = True
            assert (await letters.replay(Selection(keys=[b"o-1", b"o-2"]))).done == 2
            await until(lambda: len(billing.handled) == 2)
        assert sorted(each[:2] for each in billing.handled) == [("id-1", "o-1"), ("id-2", "o-2")]
        assert all(when for _, _, when in billing.handled)
        assert len(audit.handled) == 4
        assert await letters.keys() == {b"o-0", b"o-3"}
