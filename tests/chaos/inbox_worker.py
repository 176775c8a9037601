"""A worker with an inbox, one process: `python -m tests.chaos.inbox_worker SCENE OWNER`."""

from __future__ import annotations

import asyncio
import logging
import sys
from dataclasses import replace

from tests.chaos import mutants
from tests.chaos.inbox import InboxScene
from tests.chaos.journal import Appender
from tests.chaos.scene import Scene
from tests.chaos.worker import Observed


def main(path: str, owner: str) -> None:
    """Work until told to stop."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    mutants.apply()
    asyncio.run(_run(InboxScene.load(path), owner))


async def _run(scene: Scene, owner: str) -> None:
    assert isinstance(scene, InboxScene)
    async with scene.inbox() as inbox:
        whole = replace(scene, worker={**scene.worker, "inbox": inbox})
        await Observed(whole, owner, Appender(scene.handled)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
