"""What tests, demo and benchmarks hold in their hands: a server's URL, and its life where it is ours."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import NotOurs
from .process import Program, Supervised


@dataclass(frozen=True)
class Node:
    """A server of our own: its processes and how it is started again, on the same ports and data."""

    supervised: Supervised
    program: Program
    start_within: float


class Server:
    """A real server.

    All methods block until done: asyncio code calls them in a thread. One caller at a time. All but `url`
    and `origin` raise NotOurs when the server was given by URL or runs in Docker.
    """

    def __init__(
        self, url: str, origin: str, node: Node | None = None, urls: Mapping[str, str] | None = None
    ) -> None:
        self.url = url
        self.urls = urls or {}
        """What else a private server was asked to listen to, see `options.Options`."""
        self.origin = origin
        self._node = node

    @property
    def controllable(self) -> bool:
        """Whether `kill()` and the others work; the fault suite says NOT RUN if not."""
        return self._node is not None

    def start(self) -> None:
        """Starts it again after `kill()` or `stop()`; returns when it answers. Raises StartFailed."""
        node = self._ours()
        node.supervised.start(node.program, node.start_within)

    def kill(self) -> None:
        """SIGKILL to all its processes; its data stay.

        RabbitMQ 3.10 writes a new quorum queue's Raft directory to disk within a second of its declaration:
        killed before that, the queue has no leader afterwards, for ever.
        """
        self._ours().supervised.kill()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if it has not ended after 30 s; its data stay."""
        self._ours().supervised.stop()

    def suspend(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._ours().supervised.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `suspend()`."""
        self._ours().supervised.signal(signal.SIGCONT)

    def _ours(self) -> Node:
        if self._node is None:
            raise NotOurs(f"{self.origin}: not ours to start, kill or suspend")
        return self._node
