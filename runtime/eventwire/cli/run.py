"""``eventwire run MODULE:ATTR``: run a worker until it is told to stop."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict

from eventwire.cli.targets import Unusable, show_logs, worker_of
from eventwire.errors import EventwireError
from eventwire.pages import health_pages
from eventwire.worker import Worker

_FAILED, _USAGE = 1, 2


def command(argv: Sequence[str]) -> int:
    """Run a worker until SIGTERM or SIGINT.

    0 after a clean stop, 1 for an error of Eventwire's, 2 when there is no such worker.
    """
    flags = _parser().parse_args(argv)
    try:
        asyncio.run(_run(flags.worker, flags.verbose, flags.health_port))
    except Unusable as error:
        _tell(str(error))
        return _USAGE
    except EventwireError as error:
        _tell(f"{type(error).__name__}: {error}")
        return _FAILED
    return 0


async def _run(target: str, verbose: int, health_port: int | None) -> None:
    worker = await worker_of(target)
    show_logs(verbose)
    async with _told(worker), _pages(worker, health_port):
        await worker.run()


@asynccontextmanager
async def _pages(worker: Worker, port: int | None) -> AsyncGenerator[None]:
    if port is None:
        yield
        return
    async with health_pages(worker, port=port) as served:
        _tell(f"health on port {served}: /livez, /readyz, /health")
        yield


@asynccontextmanager
async def _told(worker: Worker) -> AsyncGenerator[None]:
    topics = ", ".join(topic.name for topic in worker.topics)
    _tell(f"group {worker.group} on {topics} of {worker.bus.brokers} (process {os.getpid()})")
    draining = asyncio.create_task(_tell_draining(worker))
    try:
        yield
    finally:
        draining.cancel()
        counts = ", ".join(
            f"{name.replace('_', '-')} {count}" for name, count in asdict(worker.counts).items()
        )
        _tell(f"group {worker.group} ended: {counts}")


async def _tell_draining(worker: Worker) -> None:
    await worker.stopping()
    _tell(f"group {worker.group} was told to stop: draining")


def _tell(text: str) -> None:
    print(f"eventwire run: {text}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eventwire run", description="Run a worker until SIGTERM or SIGINT."
    )
    parser.add_argument(
        "worker", metavar="MODULE:ATTR", help="a Worker, or a function that returns one, async or not"
    )
    parser.add_argument(
        "-v", "--verbose", action="count", default=0, help="show Eventwire's INFO logs, twice: DEBUG, too"
    )
    parser.add_argument(
        "--health-port", type=int, metavar="PORT", help="serve /livez, /readyz and /health there, over HTTP"
    )
    return parser
