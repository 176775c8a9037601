"""SIGTERM and SIGINT, for what runs until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager

_log = logging.getLogger("eventwire.signals")


@contextmanager
def on_stop_signals(signalled: Callable[[], None]) -> Generator[None]:
    """Call `signalled` in the event loop at each SIGTERM and SIGINT, as long as the block lasts.

    Where that cannot be (another thread than the main one, a system without such signals) nothing is called.
    """
    loop = asyncio.get_running_loop()
    taken: list[signal.Signals] = []
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signalled)
            taken.append(number)
    except (RuntimeError, ValueError, NotImplementedError):
        _log.debug("signal handlers cannot be set here: stop it with stop()")
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
