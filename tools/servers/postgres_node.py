"""A private PostgreSQL: an installed server's programs, or Debian's packages in the cache."""

import os
import pwd
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .command import run
from .debian import unpacked
from .errors import Unavailable
from .probe import postgres_ready
from .process import Program, Supervised, environment, free_ports
from .server import Node, Server

START_WITHIN = 60.0
PLACES = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql*/bin")
NOBODY = "nobody"  # PostgreSQL refuses to run as root


@dataclass(frozen=True)
class Installation:
    """The folder of `postgres` and `initdb`, and what the loader needs to run them."""

    programs: Path
    root: Path | None = None
    """Where the packages were unpacked."""

    @property
    def libraries(self) -> str:
        """The folders of shared libraries, for an unpacked one."""
        found = self.root.glob("usr/lib/*-linux-gnu*") if self.root else ()
        return os.pathsep.join(map(str, found))


def fetch() -> Installation:
    """An installation found on the machine, else Debian's packages, unpacked once."""
    return _installed() or _unpacked()


@contextmanager
def node() -> Generator[Server]:
    """A private node. Raises Unavailable and StartFailed."""
    installation = fetch()
    (port,) = free_ports(1)
    with Supervised("postgres") as supervised:
        data = _folder(supervised.folder)
        installation = _reachable(installation, supervised.folder)
        env = _environment(installation, supervised.folder)
        programs = installation.programs
        run(_as_user(programs / "initdb", *_layout(data)), cwd=supervised.folder, env=env)
        command = _as_user(programs / "postgres", *_settings(data, port))
        # Killed with its data, it would leave a segment of shared memory behind.
        cleanup = _as_user(programs / "pg_ctl", "stop", "-D", str(data), "-m", "immediate", "-t", "5")
        ours = Node(supervised, Program(command, env, lambda: postgres_ready(port), cleanup), START_WITHIN)
        url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
        server = Server(url, f"PostgreSQL of {programs}", ours)
        server.start()
        yield server


def _layout(data: Path) -> list[str]:
    return ["-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]


def _settings(data: Path, port: int) -> list[str]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "dynamic_shared_memory_type": "mmap",  # files in the data folder, gone with it
        "max_connections": 200,
    }
    return [
        "-D",
        str(data),
        *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
    ]


def _installed() -> Installation | None:
    found = [path for place in PLACES for path in sorted(Path("/").glob(place), reverse=True)]
    if initdb := shutil.which("initdb"):
        found.append(Path(initdb).resolve().parent)
    return next((Installation(path) for path in found if _complete(path)), None)


def _complete(programs: Path) -> bool:
    return all((programs / name).is_file() for name in ("postgres", "initdb", "pg_ctl"))


def _unpacked() -> Installation:
    root = unpacked("postgresql", lambda _: None)  # its programs find their files relative to themselves
    programs = next((path for path in root.glob(PLACES[0]) if _complete(path)), None)
    if programs is None:
        raise Unavailable(f"no postgres in the unpacked package: remove {root} and try again")
    return Installation(programs, root)


def _reachable(installation: Installation, folder: Path) -> Installation:
    """Another user may not look into root's cache: a copy in the server's own folder."""
    if installation.root is None or os.geteuid() != 0:
        return installation
    copy = folder / "packages"
    shutil.copytree(installation.root / "usr", copy / "usr", symlinks=True)
    for path in (folder, copy):
        path.chmod(0o711)
    return Installation(copy / installation.programs.relative_to(installation.root), copy)


def _folder(folder: Path) -> Path:
    """The data folder, which must belong to who runs the server."""
    data = folder / "data"
    data.mkdir(0o700)
    if os.geteuid() == 0:
        user = pwd.getpwnam(NOBODY)
        os.chown(data, user.pw_uid, user.pw_gid)
    return data


def _as_user(program: Path, *arguments: str) -> list[str]:
    """As root: as another user, who may still pass through root's folders."""
    command = [str(program), *arguments]
    if os.geteuid() != 0:
        return command
    user = pwd.getpwnam(NOBODY)
    ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return ["setpriv", *ids, "--inh-caps=+dac_override", "--ambient-caps=+dac_override", *command]


def _environment(installation: Installation, folder: Path) -> dict[str, str]:
    loader = {"LD_LIBRARY_PATH": installation.libraries} if installation.libraries else {}
    kept = {name: value for name, value in environment().items() if not name.startswith("PG")}
    return kept | {"HOME": str(folder), "LC_ALL": "C"} | loader
