"""``eventwire run MODULE:ATTR``: run a worker until it is told to stop."""

import argparse
import asyncio
import importlib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

from eventwire.errors import EventwireError
from eventwire.worker import Worker

_FAILED, _USAGE = 1, 2


class _Unusable(Exception):
    """MODULE:ATTR names no worker."""


def command(argv: Sequence[str]) -> int:
    """Run the worker: 0 after a clean stop, 1 for an error of Eventwire's, 2 when there is no such worker."""
    flags = _parser().parse_args(argv)
    sys.path.insert(0, str(Path.cwd()))
    try:
        asyncio.run(_run(flags.worker))
    except _Unusable as error:
        print(f"eventwire run: {error}", file=sys.stderr)
        return _USAGE
    except EventwireError as error:
        print(f"eventwire run: {type(error).__name__}: {error}", file=sys.stderr)
        return _FAILED
    return 0


async def _run(target: str) -> None:
    worker = _found(target)
    if callable(worker) and not isinstance(worker, Worker):
        worker = worker()
    if inspect.isawaitable(worker):
        worker = await worker
    if not isinstance(worker, Worker):
        raise _Unusable(f"{target} is no Worker and returns none, but {type(worker).__name__}")
    await worker.run()


def _found(target: str) -> object:
    module, colon, path = target.partition(":")
    if not (module and colon and path):
        raise _Unusable(f'"{target}" is not MODULE:ATTR, for example shop.app:worker')
    found: object = _imported(module)
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise _Unusable(f'{module} has no "{path}"') from None
    return found


def _imported(module: str) -> object:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # Only the named module itself: what it imports is the user's own error, with its traceback.
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise _Unusable(f'there is no module "{error.name}" here or on sys.path') from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eventwire run", description="Run a worker until SIGTERM or SIGINT."
    )
    parser.add_argument(
        "worker", metavar="MODULE:ATTR", help="a Worker, or a function that returns one, async or not"
    )
    return parser
