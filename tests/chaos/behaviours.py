"""What handlers do in fault runs, by the name that a scene gives."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path
from zlib import crc32

from eventwire.context import Context
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.chaos.scene import Scene


async def quick(scene: Scene, event: OrderPlaced, context: Context) -> None:
    """Nothing: the line that it was handled is all."""


async def slow(scene: Scene, event: OrderPlaced, context: Context) -> None:
    """Take `seconds`."""
    await asyncio.sleep(scene.options["seconds"])


async def uneven(scene: Scene, event: OrderPlaced, context: Context) -> None:
    """Take up to `seconds`, differing by event, so that handlings end in another order than they began."""
    share = crc32(f"{event.order_id}/{event.total_cents}".encode()) % 100 / 100
    await asyncio.sleep(scene.options["seconds"] * share**2)


async def poisoned(scene: Scene, event: OrderPlaced, context: Context) -> None:
    """Work for `seconds`; an event marked `raise` raises, one marked `kill` ends the process."""
    await asyncio.sleep(scene.options["seconds"])
    if event.voucher == "raise":
        raise ValueError(f"{event.order_id}/{event.total_cents} cannot be handled")
    if event.voucher == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


async def twice(scene: Scene, event: OrderPlaced, context: Context) -> None:
    """Work for `seconds`; an event marked `retry` fails at its first attempt, `wall` tells the wall clock.

    What it tells is how far that clock is from that of a process whose clock nobody fakes.
    """
    await asyncio.sleep(scene.options["seconds"])
    if event.voucher == "retry" and context.attempt == 1:
        raise ValueError("not at the first attempt")
    if event.voucher == "wall":
        _tell(Path(scene.folder, f"wall-{event.total_cents}"))


def _tell(path: Path) -> None:
    right = int(subprocess.check_output(["date", "+%s"], env={"PATH": os.defpath}))
    part = path.with_suffix(".part")
    part.write_text(str(time.time() - right))
    part.rename(path)
