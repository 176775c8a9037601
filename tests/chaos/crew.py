"""Worker processes of a fault run: started, killed, told to stop, and all gone when the block ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.chaos.journal import Journal
from tests.chaos.scene import Scene
from tests.chaos.waiting import until

ROOT = Path(__file__).parents[2]
_TAIL = 3000


class Died(AssertionError):
    """A worker ended, and nobody had asked it to."""


class Member:
    """One worker process. `owner` is its name in the journal, unlike that of any other."""

    def __init__(self, owner: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.owner = owner
        self.process = process
        self.log = log
        self.ended = False
        """Whether somebody asked for its end."""

    @property
    def alive(self) -> bool:
        """Whether it runs, as far as nobody asked it not to."""
        return self.process.returncode is None and not self.ended

    async def kill(self) -> None:
        """SIGKILL; returns when it is gone. Raises Died when it had ended by itself."""
        self.check()
        self.ended = True
        self.process.kill()
        if (code := await self.process.wait()) != -signal.SIGKILL:
            raise Died(f"{self.owner} ended with {code} before it could be killed\n{self.tail()}")

    def tell(self, number: int = signal.SIGTERM) -> None:
        """Send a signal."""
        self.ended = self.ended or number in {signal.SIGTERM, signal.SIGINT, signal.SIGKILL}
        self.process.send_signal(number)

    def check(self) -> None:
        """Raise Died when it ended by itself."""
        if self.process.returncode is not None and not self.ended:
            raise Died(f"{self.owner} ended with {self.process.returncode}\n{self.tail()}")

    def tail(self) -> str:
        """The end of what it said."""
        return self.log.read_text(errors="replace")[-_TAIL:]


class Crew:
    """The workers of a scene, and their journal. `env` is added to the workers' environment."""

    def __init__(self, scene: Scene, env: Mapping[str, str] | None = None) -> None:
        self.scene = scene
        self.journal = Journal(scene.handled)
        self.members: list[Member] = []
        self._numbers = count(1)
        self.guards: list[Callable[[], None]] = [self.check]
        """Called at each look while the test waits for something: they raise what must end the run."""
        self._scene_file = scene.save()
        paths = os.pathsep.join(map(str, (ROOT, ROOT / "examples/shop/gen")))
        self._env = {**os.environ, "PYTHONPATH": paths, **(env or {})}

    @property
    def alive(self) -> list[Member]:
        """Those that run."""
        return [member for member in self.members if member.alive]

    async def start(self, scene: Scene | None = None) -> Member:
        """Start one more worker; it may not have joined yet. Another scene gives it another behaviour."""
        owner = f"w{next(self._numbers)}"
        log = Path(self.scene.folder, f"{owner}.log")
        path = self._scene_file if scene is None else scene.save(f"{owner}.json")
        with log.open("wb") as output:  # noqa: ASYNC230 - a small local file
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", self.scene.program, str(path), owner),
                cwd=ROOT, env=self._env, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        self.members.append(member := Member(owner, process, log))
        return member

    def check(self) -> None:
        """Raise Died when a worker ended by itself."""
        for member in self.members:
            member.check()

    async def joined(self, member: Member, within: float = 60.0) -> None:
        """Wait until it reads."""
        await self.until(lambda: member.owner in self.journal.joined, within, f"{member.owner} joins")

    async def until(self, true: Callable[[], bool], within: float, what: Callable[[], str] | str) -> None:
        """Wait for something of the journal. Raises Died when a worker ends by itself meanwhile."""

        def looked() -> bool:
            self.journal.read()
            for guard in self.guards:
                guard()
            return true()

        await until(looked, within, what)

    async def stop(self, within: float = 30.0) -> list[int]:
        """SIGTERM to all that run; their exit codes. Raises TimeoutError."""
        alive = self.alive
        for member in alive:
            member.tell()
        async with asyncio.timeout(within):
            codes = [await member.process.wait() for member in alive]
        self.journal.read()
        return codes

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self.members:
            if member.process.returncode is None:
                member.process.kill()
            await member.process.wait()
        if error is not None:
            for member in self.members[-3:]:
                error.add_note(f"--- {member.owner} said last:\n{member.tail()}")
