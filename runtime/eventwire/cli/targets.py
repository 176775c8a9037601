"""What a command's MODULE:ATTR names: a worker."""

import importlib
import inspect
import sys
from pathlib import Path

from eventwire.worker import Worker


class Unusable(Exception):
    """MODULE:ATTR names no worker; the text says why, for the user."""


async def worker_of(target: str) -> Worker:
    """The Worker that MODULE:ATTR names, or that a function of that name returns. Raises Unusable.

    The working folder is looked at first.
    """
    sys.path.insert(0, str(Path.cwd()))
    worker = _found(target)
    if callable(worker) and not isinstance(worker, Worker):
        worker = worker()
    if inspect.isawaitable(worker):
        worker = await worker
    if not isinstance(worker, Worker):
        raise Unusable(f"{target} is no Worker and returns none, but {type(worker).__name__}")
    return worker


def _found(target: str) -> object:
    module, colon, path = target.partition(":")
    if not (module and colon and path):
        raise Unusable(f'"{target}" is not MODULE:ATTR, for example shop.app:worker')
    found: object = _imported(module)
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise Unusable(f'{module} has no "{path}"') from None
    return found


def _imported(module: str) -> object:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # Only the named module itself: what it imports is the user's own error, with its traceback.
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise Unusable(f'there is no module "{error.name}" here or on sys.path') from None
