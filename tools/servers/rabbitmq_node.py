"""A private RabbitMQ node: an installed server's own scripts, or Debian's packages in the cache."""

import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import debian_suite
from .debian import unpacked
from .errors import Unavailable
from .options import Options
from .probe import amqp_ready
from .process import Program, Supervised, environment, free_ports
from .server import Node, Server

START_WITHIN = 90.0
ERLANG = "usr/lib/erlang"  # Debian's place for it

# The server's own scripts: the wrapper that Debian puts on PATH changes user and knows one node only.
INSTALLED = (
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
    "/opt/rabbitmq/sbin",
)

CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{amqp}
loopback_users = none
vm_memory_high_watermark.absolute = 512MB
disk_free_limit.absolute = 50MB
log.console = true
log.file = false
"""

TLS = """\
listeners.ssl.1 = 127.0.0.1:{port}
ssl_options.cacertfile = {authority}
ssl_options.certfile = {certificate}
ssl_options.keyfile = {key}
ssl_options.verify = verify_none
ssl_options.fail_if_no_peer_cert = false
default_user = {username}
default_pass = {password}
"""

# epmd in the foreground and in the group: started by the node it becomes a daemon that outlives it.
SCRIPT = 'epmd & exec "$0"'


@dataclass(frozen=True)
class Installation:
    """The folder of `rabbitmq-server`, and what PATH and the loader need to run it."""

    scripts: Path
    path: str
    libraries: str = ""


def fetch() -> Installation:
    """An installation found on the machine, else Debian's packages (35 MB), unpacked once."""
    return _installed() or _unpacked()


def fetch_4() -> Installation:
    """RabbitMQ 4 of Debian 13 (60 MB), unpacked once with all it needs. Raises Unavailable."""
    root = debian_suite.unpacked("rabbitmq-server", "trixie", ERLANG)
    _relocate(root)
    return _found(root)


@contextmanager
def node(options: Options, fetch: Callable[[], Installation] = fetch) -> Generator[Server]:
    """A private node. Raises Unavailable and StartFailed."""
    installation = fetch()
    amqp, distribution, epmd, tls = free_ports(4)
    with Supervised("rabbitmq") as supervised:
        _write_config(supervised.folder, amqp, _tls(options, tls))
        env = _environment(installation, supervised.folder, amqp, distribution, epmd)
        command = ["sh", "-c", SCRIPT, str(installation.scripts / "rabbitmq-server")]
        ours = Node(supervised, Program(command, env, lambda: amqp_ready(amqp)), START_WITHIN)
        origin = f"RabbitMQ of {installation.scripts.parent.name}"
        user, urls = "guest:guest", dict[str, str]()
        if options.tls:
            user = f"{options.tls.username}:{options.tls.password}"
            urls["tls"] = f"amqps://localhost:{tls}/"
        server = Server(f"amqp://{user}@127.0.0.1:{amqp}/", origin, ours, urls)
        server.start()
        yield server


def _installed() -> Installation | None:
    path = os.environ.get("PATH", os.defpath) + os.pathsep + f"/{ERLANG}/bin"
    if not shutil.which("erl", path=path) or not shutil.which("epmd", path=path):
        return None
    for pattern in INSTALLED:
        for script in sorted(Path("/").glob(f"{pattern[1:]}/rabbitmq-server"), reverse=True):
            return Installation(script.parent, path)
    return None


def _unpacked() -> Installation:
    root = unpacked("rabbitmq-server", _relocate)
    found = _found(root)
    libraries = os.pathsep.join(map(str, root.glob("usr/lib/*-linux-gnu*")))
    return Installation(found.scripts, found.path, libraries)


def _found(root: Path) -> Installation:
    scripts = next(root.glob(f"{INSTALLED[0][1:]}"), None)
    if scripts is None:
        raise Unavailable(f"no rabbitmq_server folder in the unpacked package: remove {root} and try again")
    path = f"{root / ERLANG / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return Installation(scripts, path)


def _relocate(root: Path) -> None:
    """Makes the unpacked `erl` look beside itself: it names the place where it would be installed."""
    for helper in (root / ERLANG).glob("erts-*/bin/dyn_erl*"):
        helper.unlink()  # newer: finds the place by the loader's
    erl = root / ERLANG / "bin" / "erl"
    if erl.exists():
        here = 'ROOTDIR=$(cd "$(dirname "$0")/.." && pwd)'
        erl.write_text(erl.read_text().replace(f"ROOTDIR=/{ERLANG}\n", f"{here}\n"))


def _tls(options: Options, port: int) -> str:
    if (tls := options.tls) is None:
        return ""
    files = {"authority": tls.authority, "certificate": tls.certificate, "key": tls.key}
    return TLS.format(port=port, username=tls.username, password=tls.password, **files)


def _write_config(folder: Path, amqp: int, tls: str) -> None:
    (folder / "rabbitmq.conf").write_text(CONFIG.format(amqp=amqp) + tls)
    (folder / "enabled_plugins").write_text("[].\n")


def _environment(
    installation: Installation, folder: Path, amqp: int, distribution: int, epmd: int
) -> dict[str, str]:
    loader = {"LD_LIBRARY_PATH": installation.libraries} if installation.libraries else {}
    return environment(
        PATH=installation.path,
        HOME=str(folder),
        RABBITMQ_NODENAME=f"eventwire{amqp}@localhost",
        RABBITMQ_MNESIA_BASE=str(folder / "mnesia"),
        RABBITMQ_LOG_BASE=str(folder / "log"),
        RABBITMQ_CONFIG_FILE=str(folder / "rabbitmq"),
        RABBITMQ_CONF_ENV_FILE=str(folder / "none"),
        RABBITMQ_ENABLED_PLUGINS_FILE=str(folder / "enabled_plugins"),
        RABBITMQ_PID_FILE=str(folder / "pid"),
        RABBITMQ_DIST_PORT=str(distribution),  # the default is the AMQP port of another node + 20000
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 2:2 +sbwt none",
        ERL_EPMD_PORT=str(epmd),
        ERL_EPMD_ADDRESS="127.0.0.1",
        **loader,
    )
