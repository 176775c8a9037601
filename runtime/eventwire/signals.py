"""SIGTERM and SIGINT, for what runs until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import count

_log = logging.getLogger("eventwire.signals")
_LAST = 2


@contextmanager
def on_stop_signals(signalled: Callable[[], None]) -> Generator[None]:
    """Call `signalled` in the event loop at the first and the second SIGTERM or SIGINT, as long as the block lasts.

    A third one ends the process, as it would without us: for handlers that swallow every cancellation.
    Where that cannot be (another thread than the main one, a system without such signals) nothing is called.
    """
    loop = asyncio.get_running_loop()
    taken: list[signal.Signals] = []
    came = count(1)

    def receive() -> None:
        signalled()
        if next(came) == _LAST:
            let_go()

    def let_go() -> None:
        for number in taken:
            loop.remove_signal_handler(number)

    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, receive)
            taken.append(number)
    except (RuntimeError, ValueError, NotImplementedError):
        _log.debug("signal handlers cannot be set here: stop it with stop()")
    try:
        yield
    finally:
        let_go()
