"""What handlers do in fault runs, by the name that a scene gives."""

from __future__ import annotations

import asyncio

from eventwire.context import Context
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.chaos.scene import Scene


async def quick(scene: Scene, event: OrderPlaced, context: Context) -> None:
    """Nothing: the line that it was handled is all."""


async def slow(scene: Scene, event: OrderPlaced, context: Context) -> None:
    """Take `seconds`."""
    await asyncio.sleep(scene.options["seconds"])
