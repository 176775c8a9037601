"""Health over HTTP: `/livez`, `/readyz` (200 or 503), and `/health`, which tells all as JSON.

The server runs in a thread of its own: it also finds out that the event loop hangs.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from eventwire.errors import ConfigurationError
from eventwire.health import WorkerHealth
from eventwire.worker import Worker

_ANSWERS_WITHIN = 2.0
"""Seconds that the event loop has to answer before it counts as hanging."""


@asynccontextmanager
async def health_pages(*workers: Worker, port: int, host: str = "0.0.0.0") -> AsyncGenerator[int]:  # noqa: S104  probes come from outside
    """Serve the health of workers as long as the block lasts; gives the port (of `port=0`: the one that was free).

    `/livez` fails when a restart would help, `/readyz` while one of them does not handle events. No secret is shown;
    group names and reasons are. Raises ConfigurationError when the port cannot be had.
    """
    server = _serving(host, port, _Source(workers, asyncio.get_running_loop()))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="eventwire-health", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()


class _Source:
    """Asks the workers in their own loop."""

    def __init__(self, workers: tuple[Worker, ...], loop: asyncio.AbstractEventLoop) -> None:
        self._workers = workers
        self._loop = loop

    def ask(self) -> list[WorkerHealth] | None:
        """None when the loop does not answer."""
        try:
            return asyncio.run_coroutine_threadsafe(self._healths(), self._loop).result(_ANSWERS_WITHIN)
        except (TimeoutError, RuntimeError):  # hanging, or closed
            return None

    async def _healths(self) -> list[WorkerHealth]:
        return [worker.health() for worker in self._workers]


_PAGES: dict[str, Callable[[list[WorkerHealth]], bool]] = {
    "/livez": lambda found: all(each.alive for each in found),
    "/readyz": lambda found: all(each.ready for each in found),
    "/health": lambda found: all(each.alive and each.ready for each in found),
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, source: _Source) -> None:
        super().__init__((host, port), _Handler)
        self.source = source


def _serving(host: str, port: int, source: _Source) -> _Server:
    try:
        return _Server(host, port, source)
    except OSError as error:
        raise ConfigurationError(f"health pages cannot be served on {host}:{port}: {error}") from error


class _Handler(BaseHTTPRequestHandler):
    timeout = 5

    def do_GET(self) -> None:
        """Answer a probe."""
        path = self.path.partition("?")[0]
        if path not in _PAGES:
            self._answer(HTTPStatus.NOT_FOUND, {"error": f"there are {', '.join(_PAGES)}"})
            return
        found = cast("_Server", self.server).source.ask()
        if found is None:
            hangs = f"the event loop does not answer within {_ANSWERS_WITHIN:g} s: something blocks it"
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"ok": False, "reasons": [hangs]})
            return
        ok = _PAGES[path](found)
        reasons = [f"group {each.group}: {reason}" for each in found for reason in each.reasons]
        content: dict[str, Any] = {"ok": ok, "reasons": reasons}
        if path == "/health":
            content["workers"] = [asdict(each) for each in found]
        self._answer(HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE, content)

    def _answer(self, status: HTTPStatus, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        """No version for strangers."""
        return "eventwire"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Probes come every few seconds: not a line for each."""
