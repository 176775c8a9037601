"""One service in one process: `python -m examples.shop.service NAME URL`. Ends on SIGTERM, telling what it did."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from dataclasses import asdict

from eventwire import Bus, Worker
from examples.shop.services import SERVICES


async def serve(name: str, url: str) -> None:
    """Work until SIGTERM; tell the counts twice a second, as a line of JSON each."""
    worker = Worker(Bus(url, declare=True, service=f"/shop/{name}"), SERVICES[name](), group=name)
    telling = asyncio.create_task(_tell(worker))
    try:
        await worker.run()
    finally:
        telling.cancel()
        print(json.dumps(asdict(worker.counts)), flush=True)


async def _tell(worker: Worker) -> None:
    while True:
        print(json.dumps(asdict(worker.counts)), flush=True)
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(serve(*sys.argv[1:]))
