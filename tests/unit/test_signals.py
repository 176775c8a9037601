from __future__ import annotations

import asyncio
import os
import signal

from eventwire.signals import on_stop_signals


async def test_two_signals_are_told_and_a_third_is_the_system_s() -> None:
    told: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    with on_stop_signals(lambda: told.append(1)):
        for number in (1, 2):
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(10):
                while len(told) < number:  # noqa: ASYNC110  the loop's signal handler tells nobody
                    await asyncio.sleep(0)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == before


async def test_after_the_block_nothing_is_told() -> None:
    with on_stop_signals(lambda: None):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
