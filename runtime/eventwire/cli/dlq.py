"""``eventwire dlq list|show|replay|purge``: a group's dead letters."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, replace

from eventwire.cli import dlq_flags
from eventwire.cli.dlq_places import Place, opened
from eventwire.cli.dlq_text import everything, line, printable
from eventwire.cli.targets import Unusable
from eventwire.dead_letters import Progress, Selection
from eventwire.errors import EventwireError, UrlError

_FAILED, _USAGE = 1, 2
_TELL = 1.0
"""Seconds between two lines of progress."""
_DOING = {"replay": "replayed", "purge": "purged"}


def command(argv: Sequence[str]) -> int:
    """List, show, replay or purge a group's dead letters.

    0 when done, 1 for an error, a letter that is not there or was refused, 2 for a call that cannot be understood.
    """
    flags = dlq_flags.parser().parse_args(argv)
    selection = dlq_flags.selection(flags)
    try:
        if flags.command == "purge":
            _may_purge(flags, selection)
        return asyncio.run(_run(flags, selection))
    except (Unusable, UrlError) as error:
        _tell(str(error))
        return _USAGE
    except EventwireError as error:
        _tell(f"{type(error).__name__}: {error}")
        return _FAILED


def _may_purge(flags: argparse.Namespace, selection: Selection) -> None:
    if selection.everything and not flags.all:
        raise Unusable("purge needs a filter, or --all")
    if not (flags.yes or flags.dry_run or sys.stdin.isatty()):
        raise Unusable("purge asks first, and this is no terminal: give --yes")


async def _run(flags: argparse.Namespace, selection: Selection) -> int:
    left = selection
    status = 0
    async with _sigterm_as_sigint(), opened(flags) as places:
        for place in places:
            found, failed = await _at(place, flags, left)
            status |= failed
            if selection.limit is not None:
                left = replace(left, limit=(left.limit or 0) - found)
                if not left.limit:
                    return status
    if flags.command == "show":
        _tell(f"no dead letter {flags.id} of {', '.join(place.letters.place.name for place in places)}")
        return _FAILED
    return status


async def _at(place: Place, flags: argparse.Namespace, selection: Selection) -> tuple[int, int]:
    """Do it at one place; how many letters matched, and whether something was wrong."""
    if flags.command in {"list", "show"} or flags.dry_run:
        return await _look(place, flags, selection)
    if flags.command == "purge" and not flags.yes and not await _agreed(place, selection):
        return 0, _FAILED
    return await _settle(place, flags, selection)


async def _look(place: Place, flags: argparse.Namespace, selection: Selection) -> tuple[int, int]:
    progress = Progress()
    async with aclosing(place.letters.browse(selection, progress=progress)) as letters:
        async for letter in letters:
            if flags.command == "show":
                print(everything(letter, place, as_json=flags.json, raw=flags.raw))
            else:
                print(line(letter, place, as_json=flags.json))
    if flags.command == "show":
        return progress.matched, 0
    _tell(f"{place.letters.place.name}: {progress.matched:,} of {progress.total:,} dead letters match")
    unseen = progress.total - progress.seen if progress.matched != selection.limit else 0
    if unseen > 0:
        _tell(
            f"{unseen:,} were not looked at: the broker shows no more at a time (RabbitMQ: `?prefetch=` of the URL)"
        )
    return progress.matched, _FAILED if unseen > 0 else 0


async def _agreed(place: Place, selection: Selection) -> bool:
    progress = Progress()
    async with aclosing(place.letters.browse(selection, progress=progress)) as letters:
        async for _ in letters:
            pass
    asked = (
        f"purge {progress.matched:,} of {progress.total:,} dead letters of {place.letters.place.name}? [y/N] "
    )
    answer = await asyncio.to_thread(input, asked)
    return answer.strip().lower() in {"y", "yes"}


async def _settle(place: Place, flags: argparse.Namespace, selection: Selection) -> tuple[int, int]:
    progress = Progress()
    ended = False
    try:
        async with _told(progress, flags.command):
            if flags.command == "purge":
                await place.letters.purge(selection, progress=progress)
            else:
                await place.letters.replay(
                    selection, to_source=flags.to_source, rate=flags.rate, progress=progress
                )
        ended = True
    finally:
        _sum_up(place, flags, progress, ended=ended)
    return progress.matched, _FAILED if progress.refused else 0


def _sum_up(place: Place, flags: argparse.Namespace, progress: Progress, *, ended: bool) -> None:
    if flags.json:
        print(json.dumps({"place": place.letters.place.name, "ended": ended, **asdict(progress)}))
        return
    for refusal in progress.refusals:
        _tell(f"refused {printable(refusal.id)}: {printable(refusal.why)}")
    to = ""
    if flags.command == "replay":
        to = f" to {place.letters.topic if flags.to_source else place.letters.retries.name}"
    moved = f", {progress.moved:,} of them moved to the tail" if progress.moved else ""
    print(
        f"{place.letters.place.name}: {'' if ended else 'stopped: '}{_DOING[flags.command]} {progress.done:,} of "
        f"{progress.total:,}{to}, {progress.total - progress.done:,} stay{moved}"
    )


@asynccontextmanager
async def _sigterm_as_sigint() -> AsyncGenerator[None]:
    """SIGTERM, which an orchestrator sends, cancels what runs as Ctrl-C does, also where SIGINT is ignored."""
    loop, task, came = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()

    def receive() -> None:
        came.set()
        if task is not None:
            task.cancel()

    loop.add_signal_handler(signal.SIGTERM, receive)
    try:
        yield
    except asyncio.CancelledError:
        if came.is_set():
            raise KeyboardInterrupt from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


@asynccontextmanager
async def _told(progress: Progress, command: str) -> AsyncGenerator[None]:
    async def tell() -> None:
        while True:
            await asyncio.sleep(_TELL)
            _tell(f"{_DOING[command]} {progress.done:,}, looked at {progress.seen:,} of {progress.total:,}")

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()


def _tell(text: str) -> None:
    print(f"eventwire dlq: {text}", file=sys.stderr, flush=True)
