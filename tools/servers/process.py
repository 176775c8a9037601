"""The owner's side of a supervised server process: start, signal, readiness, log, clean-up."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from .errors import StartFailed

SUPERVISOR = Path(__file__).with_name("supervisor.py")
LOG_TAIL_LINES = 30


def free_ports(count: int) -> list[int]:
    """Distinct free loopback ports below the range that the system gives to outgoing connections.

    A client that reconnects to a dead server on a port of that range may connect to itself, and then
    holds the port that the server needs to come back.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(15000, 32000)
        if port not in found and _is_free(port):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class Program:
    """How a server is started, and how to tell that it is ready.

    `ready` makes one attempt of a real exchange with the server: True, False or OSError.
    `cleanup` is a command for what does not die with the processes (containers).
    """

    command: Sequence[str]
    env: Mapping[str, str]
    ready: Callable[[], bool]
    cleanup: Sequence[str] = field(default=())


class Supervised:
    """A temporary folder and the server that runs in it; both vanish with `close()` or with this process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(SUPERVISOR), name],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                start_new_session=True,  # a Ctrl-C in the terminal is the owner's to handle
            )
            self._stream = ours.makefile("rw", encoding="utf-8")
        self.folder = Path(json.loads(self._read_line()))
        self.log = self.folder / "server.log"

    def start(self, program: Program, within: float) -> None:
        """Starts the server unless it runs, and returns when it is ready.

        Raises StartFailed with the tail of the log when it exits, or is not ready within so many seconds.
        """
        if self._ask(do="status") is not None:
            self._ask(
                do="start",
                command=list(program.command),
                env=dict(program.env),
                log=str(self.log),
                cleanup=list(program.cleanup),
            )
        self._wait_ready(program.ready, within)

    def kill(self) -> None:
        """SIGKILL to the whole process group; returns when it is gone and its ports are free."""
        self._ask(do="end", signal=signal.SIGKILL)

    def stop(self, grace: float = 30.0) -> None:
        """SIGTERM, SIGKILL after the grace; returns when all processes are gone. The folder stays."""
        self._ask(do="end", signal=signal.SIGTERM, grace=grace)

    def signal(self, number: int) -> None:
        """Sends a signal to the whole process group."""
        self._ask(do="signal", signal=number)

    def close(self) -> None:
        """Kills the server and removes the folder; returns when both are gone."""
        with contextlib.suppress(BrokenPipeError):
            self._stream.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, **request: object) -> int | None:
        with self._lock:
            try:
                self._stream.write(json.dumps(request) + "\n")
                self._stream.flush()
            except (BrokenPipeError, ValueError) as error:
                raise StartFailed(f"{self._name}: its supervisor has ended, open it again") from error
            reply: dict[str, int | str | None] = json.loads(self._read_line())
        if "error" in reply:
            raise StartFailed(f"{self._name}: {reply['error']}")
        code = reply["exit"]
        return code if isinstance(code, int) else None

    def _read_line(self) -> str:
        line = self._stream.readline()
        if not line:
            raise StartFailed(f"{self._name}: its supervisor ended with {self._process.wait()}")
        return line

    def _wait_ready(self, ready: Callable[[], bool], within: float) -> None:
        deadline = time.monotonic() + within
        while not attempt(ready):
            code = self._ask(do="status")
            if code is not None:
                raise StartFailed(f"{self._name} exited with {code}; its log ends:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise StartFailed(f"{self._name} not ready in {within} s; its log ends:\n{self._log_tail()}")
            time.sleep(0.05)

    def _log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])


def attempt(ready: Callable[[], bool]) -> bool:
    """One attempt of a readiness exchange; a refused, cut or timed-out connection is "not yet"."""
    try:
        return ready()
    except OSError:
        return False


def environment(**changes: str) -> dict[str, str]:
    """This process's environment with changes, without what would reconfigure a server."""
    prefixes = ("RABBITMQ_", "ERL_", "KAFKA_", "EVENTWIRE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return kept | changes
