"""What a command's MODULE:ATTR names: a worker, a relay."""

import importlib
import inspect
import logging
import sys
from pathlib import Path
from typing import TypeVar

from eventwire.worker import Worker

T = TypeVar("T")
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Unusable(Exception):
    """MODULE:ATTR names nothing that the command can use; the text says why, for the user."""


async def worker_of(target: str) -> Worker:
    """The Worker that MODULE:ATTR names. See `resolved`."""
    return await resolved(target, Worker)


async def resolved(target: str, kind: type[T]) -> T:
    """What MODULE:ATTR names, or what a function of that name returns, async or not. Raises Unusable.

    The working folder is looked at first.
    """
    sys.path.insert(0, str(Path.cwd()))
    found = _found(target)
    if isinstance(found, kind):
        return found
    made: object = found() if callable(found) else found
    if inspect.isawaitable(made):
        made = await made
    if not isinstance(made, kind):
        raise Unusable(f"{target} is no {kind.__name__} and returns none, but {type(made).__name__}")
    return made


def show_logs(verbose: int) -> None:
    """Logs on stderr, Eventwire's own as detailed as asked. To be called when the user's module was imported.

    Where that set up logging, its handlers stay.
    """
    logging.basicConfig(format=_FORMAT)
    if verbose:
        logging.getLogger("eventwire").setLevel(_LEVELS[min(verbose, len(_LEVELS) - 1)])


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
