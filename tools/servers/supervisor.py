"""Owns one server on behalf of another process, and cleans up when that process ends, however it ends.

Run as a script by `process.Supervised`. It makes a temporary folder and prints its path, then answers one
line of JSON with one line of JSON. When its standard input closes, or its parent is gone (a fork of the
owner may hold the pipe open), it kills the server and every descendant and removes the folder.
Standard library only, and no import from this package: it must outlive whatever happens to its owner.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TypedDict

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
LAST_GRACE = 10.0  # seconds that processes get to disappear after SIGKILL


class Request(TypedDict, total=False):
    """One line from the owner; `do` is start, status, signal or end."""

    do: str
    command: list[str]
    env: dict[str, str]
    log: str
    cleanup: list[str]
    signal: int
    grace: float


def adopt_orphans() -> None:
    """Makes daemons of the server our children (Linux), so that they can be found, killed and reaped."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> list[int]:
    """Our direct children, adopted ones included; empty where the kernel does not list them."""
    return children_of(os.getpid())


def children_of(pid: int) -> list[int]:
    """A process's direct children, where the kernel lists them."""
    try:
        listing = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in listing.split()]


def descendants(pid: int) -> Iterator[int]:
    """All below a process: PostgreSQL's children leave its group."""
    for child in children_of(pid):
        yield child
        yield from descendants(child)


class Group:
    """The server's process group, and the descendants that left it."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.pid = 0
        self.exit_code: int | None = 0
        self.cleanup: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, command: list[str], env: dict[str, str], log: str, cleanup: list[str]) -> None:
        """Starts the command as leader of a session and a process group of its own."""
        self.cleanup = cleanup
        with Path(log).open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env=env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid, self.exit_code = self._process.pid, None

    def status(self) -> int | None:
        """The leader's exit code, None while it runs, 0 when it was never started."""
        self._reap()
        return self.exit_code

    def signal(self, number: int) -> None:
        """Sends a signal to every process of the group, if there is one; of suspending, to all descendants."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)
            for pid in descendants(self.pid) if number in {signal.SIGSTOP, signal.SIGCONT} else ():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)

    def end(self, number: int, grace: float) -> None:
        """Ends the group by this signal, by SIGKILL after the grace; returns when all of it is gone."""
        self.signal(number)
        self.signal(signal.SIGCONT)  # a suspended process would keep the signal pending
        deadline = time.monotonic() + grace
        while not self._gone() and time.monotonic() < deadline:
            time.sleep(0.02)
        deadline = time.monotonic() + LAST_GRACE
        while not self._gone() and time.monotonic() < deadline:
            self._kill_all()
            time.sleep(0.02)

    def _kill_all(self) -> None:
        self.signal(signal.SIGKILL)
        for pid in children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _reap(self) -> bool:
        """Collects ended children; True when none is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self.pid:
                self.exit_code = os.waitstatus_to_exitcode(status)

    def _gone(self) -> bool:
        if not self._reap() or not self.pid:
            return not self.pid
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, PermissionError):
            return True
        return False


def requests(owner: int) -> Iterator[Request]:
    """The owner's requests; ends when the owner closed the pipe or is gone."""
    pending = b""
    while os.getppid() == owner:
        if not select.select([0], [], [], 1.0)[0]:
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            request: Request = json.loads(line)
            yield request


def answer(group: Group, request: Request) -> int | None:
    """Does what the owner asks; the answer is the leader's exit code."""
    match request.get("do"):
        case "start":
            group.start(
                request.get("command", []),
                request.get("env", {}),
                request.get("log", os.devnull),
                request.get("cleanup", []),
            )
        case "signal":
            group.signal(request.get("signal", 0))
        case "end":
            group.end(request.get("signal", signal.SIGKILL), request.get("grace", 0.0))
        case _:
            pass
    return group.status()


def clean_up(group: Group) -> None:
    """Leaves nothing behind: no process, no container, no folder."""
    if group.cleanup:
        with contextlib.suppress(OSError):
            subprocess.run(group.cleanup, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    group.end(signal.SIGKILL, 0)
    for _ in range(3):
        shutil.rmtree(group.folder, ignore_errors=True)


def serve(owner: int, name: str) -> None:
    """Serves one owner until it is gone."""
    group = Group(tempfile.mkdtemp(prefix=f"eventwire-{name}-"))
    try:
        print(json.dumps(group.folder), flush=True)
        for request in requests(owner):
            try:
                reply: dict[str, int | str | None] = {"exit": answer(group, request)}
            except OSError as error:
                reply = {"error": str(error)}
            print(json.dumps(reply), flush=True)
    finally:
        clean_up(group)


def terminate(_number: int, _frame: FrameType | None) -> None:
    """Leaves through every `finally`."""
    sys.exit(143)


if __name__ == "__main__":
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, terminate)
    adopt_orphans()
    with contextlib.suppress(BrokenPipeError):
        serve(parent, sys.argv[1])
