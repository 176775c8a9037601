"""The demo: some thousand orders through three services in three processes, counted at the end.

`python -m examples.shop.demo [--broker sqlite|kafka|amqp] [--orders N] [--seed N]`: nothing but the URL changes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from typing_extensions import override

from eventwire import Bus, Context, EventwireError, Worker
from examples.shop.customers import broken, orders
from examples.shop.services import SERVICES
from shop.orders.v1.orders_eventwire import ORDERS, OrdersHandler, OrdersPublisher
from shop.orders.v1.orders_pb2 import OrderCancelled, OrderCompleted
from shop.payments.v1.payments_eventwire import PAYMENTS
from shop.shipping.v1.shipping_eventwire import SHIPPING
from tools import servers

_PATIENCE = 120.0
"""Seconds without any progress after which the demo gives up."""


class Ledger(OrdersHandler):
    """Notes how orders ended; what the demo's sum is checked against."""

    def __init__(self) -> None:
        self.completed: set[str] = set()
        self.cancelled: set[str] = set()

    @override
    async def on_order_completed(self, event: OrderCompleted, context: Context) -> None:
        self.completed.add(event.order_id)

    @override
    async def on_order_cancelled(self, event: OrderCancelled, context: Context) -> None:
        self.cancelled.add(event.order_id)


class Service:
    """A service in a process of its own, and the counts it told last."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.counts: Mapping[str, int] = {}
        self._url = url
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "examples.shop.service",
            self.name,
            self._url,
            stdout=asyncio.subprocess.PIPE,
        )
        self._listening = asyncio.create_task(self._listen(self._process))

    async def stop(self) -> int:
        """Ask it to finish, as an orchestrator would, and wait; the exit code."""
        if self._process is None or self._listening is None:
            return 0
        if self._process.returncode is None:
            self._process.terminate()
        await self._listening
        return await self._process.wait()

    @property
    def ended(self) -> bool:
        """Whether the process is gone, though nobody asked it to."""
        return self._process is not None and self._process.returncode is not None

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is not None:
            async for line in process.stdout:
                self.counts = json.loads(line)


async def shop(url: str, count: int, seed: int) -> bool:
    """Run the shop until every order has ended; whether the sum is right."""
    ledger = Ledger()
    services = [Service(name, url) for name in SERVICES]
    async with Bus(url, declare=True, service="/shop/web") as bus:
        await bus.declare(ORDERS, groups=["billing", "ledger"])
        await bus.declare(PAYMENTS, groups=["warehouse", "desk"])
        await bus.declare(SHIPPING, groups=["desk"])
        began = time.monotonic()
        async with Worker(bus, ledger, group="ledger"):
            try:
                await asyncio.gather(*(service.start() for service in services))
                placing = asyncio.create_task(
                    OrdersPublisher(bus).publish_many(orders(count, seed), max_in_flight=200)
                )
                ended_well = await _follow(ledger, services, count)
                receipt = await placing if ended_well else None
            finally:
                codes = await asyncio.gather(*(service.stop() for service in services))
    _tell(services, codes, time.monotonic() - began)
    return _sum_up(ledger, services, receipt.confirmed if receipt else 0, count) and not any(codes)


async def _follow(ledger: Ledger, services: list[Service], count: int) -> bool:
    """Show progress until every order has ended; False when nothing moves any more or a service is gone."""
    moved = time.monotonic()
    before = -1
    while True:
        dead = _total(services, "dead_lettered")
        done = len(ledger.completed) + len(ledger.cancelled) + dead
        if done != before:
            moved, before = time.monotonic(), done
        _progress(done, count, services)
        if done >= count:
            return True
        if time.monotonic() - moved > _PATIENCE or any(service.ended for service in services):
            return False
        await asyncio.sleep(0.5)


def _progress(done: int, count: int, services: list[Service]) -> None:
    bar = "#" * (24 * done // count)
    told = "  ".join(f"{service.name} {service.counts.get('handled', 0)}" for service in services)
    line = f"  [{bar:<24}] {done:>5} of {count} orders ended   handled: {told}"
    print(f"\r{line}" if sys.stdout.isatty() else line, end="" if sys.stdout.isatty() else "\n", flush=True)


def _sum_up(ledger: Ledger, services: list[Service], placed: int, count: int) -> bool:
    completed, cancelled = len(ledger.completed), len(ledger.cancelled)
    dead = _total(services, "dead_lettered")
    right = placed == count == completed + cancelled + dead and dead == broken(count)
    print(
        f"\n  {placed} orders placed = {completed} completed + {cancelled} cancelled (payment refused)"
        f" + {dead} in the dead letter shop.orders.v1.billing.dead"
        f"\n\n{'DEMO PASSED: every order is accounted for.' if right else 'DEMO FAILED: the sum is wrong.'}"
    )
    return right


def _tell(services: list[Service], codes: list[int], seconds: float) -> None:
    print(f"\n\n  service     {'handled':>9} {'retried':>9} {'dead letter':>12} {'exit code':>10}")
    for service, code in zip(services, codes, strict=True):
        handled, retried, dead = (
            service.counts.get(name, 0) for name in ("handled", "retried", "dead_lettered")
        )
        print(f"  {service.name:<11} {handled:>9} {retried:>9} {dead:>12} {code:>10}")
    print(f"\n  {_total(services, 'handled')} events handled in {seconds:.1f} s")


def _total(services: list[Service], name: str) -> int:
    return sum(service.counts.get(name, 0) for service in services)


@contextmanager
def broker(name: str) -> Generator[str]:
    """The URL of a broker of that kind: a new SQLite file, or a real server that is started for the demo."""
    if name == "sqlite":
        with tempfile.TemporaryDirectory(prefix="eventwire-demo-") as folder:
            yield f"sqlite:///{Path(folder) / 'shop.db'}"
    else:
        print(f"  starting {name} (the first time, this fetches it) ...", flush=True)
        with servers.kafka() if name == "kafka" else servers.rabbitmq() as server:
            yield server.url


def main() -> int:
    """Parse the arguments and run; the exit code."""
    logging.basicConfig(level=logging.ERROR)
    parser = argparse.ArgumentParser(prog="make demo", description="A shop of three services at work.")
    parser.add_argument("--broker", choices=("sqlite", "kafka", "amqp"), default="sqlite")
    parser.add_argument("--orders", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    print(
        f"Eventwire demo: {options.orders} orders, three services in three processes, on {options.broker}",
        flush=True,
    )
    try:
        with broker(options.broker) as url:
            return 0 if asyncio.run(shop(url, options.orders, options.seed)) else 1
    except servers.Unavailable as error:
        print(f"NOT RUN: {error}")
    except EventwireError as error:
        print(f"DEMO FAILED: {type(error).__name__}: {error}")
    except KeyboardInterrupt:
        print("\nDEMO STOPPED")
    return 1


if __name__ == "__main__":
    sys.exit(main())
