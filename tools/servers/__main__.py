"""Real servers from the command line.

python -m tools.servers                             starts all, prints their URLs, waits for Ctrl-C
python -m tools.servers run [SERVER ...] -- COMMAND  runs a command with their URLs in its environment
python -m tools.servers fetch [SERVER ...]           downloads what starting them needs, starts nothing

SERVER is kafka, amqp, postgres or redis; all of them if none is named.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from types import FrameType

from . import (
    AMQP_URL,
    KAFKA_URL,
    POSTGRES_URL,
    REDIS_URL,
    Server,
    StartFailed,
    Unavailable,
    kafka,
    kafka_node,
    postgres,
    postgres_node,
    rabbitmq,
    rabbitmq_node,
    redis,
    redis_node,
)


@dataclass(frozen=True)
class Service:
    """What the command line knows of a server."""

    open: Callable[[], AbstractContextManager[Server]]
    fetch: Callable[[], object]
    variable: str

    @property
    def reason_variable(self) -> str:
        """Tells the command why there is no URL."""
        return self.variable.replace("_URL", "_NOT_RUN")


SERVICES = {
    "kafka": Service(kafka, kafka_node.fetch, KAFKA_URL),
    "amqp": Service(rabbitmq, rabbitmq_node.fetch, AMQP_URL),
    "postgres": Service(postgres, postgres_node.fetch, POSTGRES_URL),
    "redis": Service(redis, redis_node.fetch, REDIS_URL),
}


def main(arguments: Sequence[str]) -> int:
    """The exit code: COMMAND's own for `run`; 1 when a server fails to start or none can be had."""
    own, command = _split(arguments)
    parser = _parser()
    options = parser.parse_args(own)
    names = list(dict.fromkeys(options.server)) or list(SERVICES)
    if bool(command) != (options.action == "run"):
        parser.error("`run` needs `-- COMMAND ...`, the others take none")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        match options.action:
            case "fetch":
                return fetch(names)
            case "run":
                return run(names, command)
            case _:
                return serve(names)
    except StartFailed as error:
        _say(f"FAIL {error}")
        return 1
    except KeyboardInterrupt:
        return 0 if options.action == "serve" else 130


def fetch(names: Sequence[str]) -> int:
    """Downloads what is missing; 1 when something cannot be had."""
    missing = 0
    for name in names:
        try:
            SERVICES[name].fetch()
            _say(f"{name}: ready to start")
        except Unavailable as error:
            missing = 1
            _say(f"NOT RUN {name}: {error}")
    return missing


def serve(names: Sequence[str]) -> int:
    """Starts the servers and leaves them running until Ctrl-C or SIGTERM; 1 when there are none."""
    with ExitStack() as stack:
        variables = _open_all(stack, names)
        urls = {name: value for name, value in variables.items() if name.endswith("_URL")}
        for name, value in urls.items():
            print(f"export {name}={value}", flush=True)
        if not urls:
            return 1
        _say("Ctrl-C stops them and removes their data.")
        while True:  # not signal.pause(): a signal just before it would wait for the next one
            time.sleep(1)


def run(names: Sequence[str], command: Sequence[str]) -> int:
    """Runs the command between start and stop of the servers; its exit code (128 + n after signal n)."""
    with ExitStack() as stack:
        variables = _open_all(stack, names)
        signal.signal(signal.SIGINT, _ignore)  # the terminal sends it to the command as well
        try:
            child = subprocess.Popen(command, env=os.environ | variables)
        except OSError as error:
            _say(f"cannot run {command[0]}: {error.strerror}")
            return 127
        signal.signal(signal.SIGTERM, lambda _number, _frame: child.terminate())
        code = child.wait()
    return code if code >= 0 else 128 - code


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Unlike SIG_IGN, a handler is not passed on to the command."""


def _open_all(stack: ExitStack, names: Sequence[str]) -> dict[str, str]:
    """Starts them side by side; the environment variables that tell of them."""

    def open_one(name: str) -> tuple[str, str]:
        service = SERVICES[name]
        try:
            return service.variable, stack.enter_context(service.open()).url
        except Unavailable as error:
            _say(f"NOT RUN {name}: {error}")
            return service.reason_variable, str(error)

    with ThreadPoolExecutor(len(names)) as pool:
        return dict(pool.map(open_one, names))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.servers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", nargs="?", default="serve", choices=["serve", "run", "fetch"])
    parser.add_argument("server", nargs="*", type=_service, help=f"{', '.join(SERVICES)}; all if none")
    return parser


def _service(name: str) -> str:
    if name not in SERVICES:
        raise argparse.ArgumentTypeError(f"no server {name!r}, there are {', '.join(SERVICES)}")
    return name


def _split(arguments: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    if "--" not in arguments:
        return arguments, []
    at = list(arguments).index("--")
    return arguments[:at], arguments[at + 1 :]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
