"""``eventwire outbox run|lag MODULE:ATTR``: relay what was recorded, or tell what waits."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from eventwire.cli.targets import Unusable, resolved, show_logs
from eventwire.errors import EventwireError, MissingDriver

if TYPE_CHECKING:
    from eventwire.outbox import Failing, Lag, Relay

_FAILED, _USAGE = 1, 2


def command(argv: Sequence[str]) -> int:
    """Publish what the outbox holds, or tell what waits in it.

    0 after a clean stop, or when no limit of `lag` is passed; 1 for an error of Eventwire's, or a lag beyond its limit;
    2 when there is no such relay.
    """
    flags = _parser().parse_args(argv)
    try:
        if flags.action == "lag":
            return asyncio.run(_lag(flags.relay, flags.max_age))
        asyncio.run(_run(flags.relay, flags.verbose))
    except Unusable as error:
        _tell(str(error))
        return _USAGE
    except EventwireError as error:
        _tell(f"{type(error).__name__}: {error}")
        return _FAILED
    return 0


def _relay_class() -> type[Relay]:
    try:
        from eventwire.outbox import Relay  # noqa: PLC0415  the list of commands must not need the extra
    except ModuleNotFoundError as error:
        raise MissingDriver(f"needs {error.name}: pip install 'eventwire[outbox]'") from error
    return Relay


async def _run(target: str, verbose: int) -> None:
    relay = await resolved(target, _relay_class())
    show_logs(verbose)
    async with _told(relay):
        await relay.run()


@asynccontextmanager
async def _told(relay: Relay) -> AsyncGenerator[None]:
    _tell(f"from {relay.database} to {relay.bus.brokers} (process {os.getpid()})")
    stopping = asyncio.create_task(_tell_stopping(relay))
    try:
        yield
    finally:
        stopping.cancel()
        health = relay.health()
        _tell(f"ended: published {health.published}, failed {health.failed}")


async def _tell_stopping(relay: Relay) -> None:
    await relay.stopping()
    _tell("told to stop: finishing the batch")


async def _lag(target: str, max_age: float | None) -> int:
    relay = await resolved(target, _relay_class())
    lag = await relay.lag()
    print(_shown(lag))
    for row in await relay.failing():
        print(_shown_failing(row))
    return _FAILED if max_age is not None and (lag.oldest or 0.0) > max_age else 0


def _shown(lag: Lag) -> str:
    oldest = "" if lag.oldest is None else f", the oldest for {lag.oldest:.1f} s"
    return f"waiting {lag.waiting}{oldest}; scheduled {lag.scheduled}; failing {lag.failing}"


def _shown_failing(row: Failing) -> str:
    key = "none" if row.key is None else ascii(row.key.decode(errors="replace"))
    return f"row {row.seq}: {row.topic}, key {key}, event {row.id}, {row.attempts} attempts: {row.error}"


def _tell(text: str) -> None:
    print(f"eventwire outbox: {text}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eventwire outbox", description="Publish what the outbox holds, or tell what waits in it."
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    run = actions.add_parser("run", help="relay until SIGTERM or SIGINT")
    lag = actions.add_parser("lag", help="print what waits, and what fails and why")
    for action in (run, lag):
        action.add_argument(
            "relay", metavar="MODULE:ATTR", help="a Relay, or a function that returns one, async or not"
        )
    run.add_argument(
        "-v", "--verbose", action="count", default=0, help="show Eventwire's INFO logs, twice: DEBUG, too"
    )
    lag.add_argument(
        "--max-age", type=float, metavar="SECONDS", help="exit with 1 when the oldest row waits for longer"
    )
    return parser
