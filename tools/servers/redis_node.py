"""A private Redis that keeps what it has answered: an installed `redis-server`, or Debian's packages in the cache."""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .debian import unpacked
from .errors import Unavailable
from .probe import redis_ready
from .process import Program, Supervised, environment, free_ports
from .server import Node, Server

START_WITHIN = 20.0


@dataclass(frozen=True)
class Installation:
    """The server's program, and what the loader needs to run it."""

    program: Path
    libraries: str = ""


def fetch() -> Installation:
    """An installation found on the machine, else Debian's packages (3 MB), unpacked once."""
    if found := shutil.which("redis-server"):
        return Installation(Path(found))
    root = unpacked("redis-server", lambda _: None)
    program = root / "usr/bin/redis-server"
    if not program.exists():  # a link to a program of another package
        raise Unavailable(f"no redis-server in the unpacked package: remove {root} and try again")
    return Installation(program, os.pathsep.join(map(str, root.glob("usr/lib/*-linux-gnu*"))))


@contextmanager
def node() -> Generator[Server]:
    """A private node. Raises Unavailable and StartFailed."""
    installation = fetch()
    (port,) = free_ports(1)
    with Supervised("redis") as supervised:
        loader = {"LD_LIBRARY_PATH": installation.libraries} if installation.libraries else {}
        command = [str(installation.program), *_settings(supervised.folder, port)]
        program = Program(command, environment(**loader), lambda: redis_ready(port))
        ours = Node(supervised, program, START_WITHIN)
        server = Server(f"redis://127.0.0.1:{port}/0", f"Redis of {installation.program}", ours)
        server.start()
        yield server


def _settings(folder: Path, port: int) -> list[str]:
    settings = {
        "bind": "127.0.0.1",
        "port": port,
        "dir": folder,
        "appendonly": "yes",
        "appendfsync": "always",  # what was answered survives SIGKILL and a power cut
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]
