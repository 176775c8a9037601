"""A server that says nothing and keeps what it is told: what a client gives away before it knows whom it talks to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Recorder:
    """`received` are the bytes of all connections, decrypted where `context` speaks TLS."""

    def __init__(self) -> None:
        self.port = 0
        self.received = b""

    async def keep(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take in one connection."""
        try:
            while chunk := await reader.read(65536):
                self.received += chunk
        except OSError:
            pass  # the client broke it off
        finally:
            writer.close()


@asynccontextmanager
async def recording(context: ssl.SSLContext | None = None) -> AsyncGenerator[Recorder]:
    """Serve on a free port until the block ends."""
    recorder = Recorder()
    server = await asyncio.start_server(recorder.keep, "127.0.0.1", 0, ssl=context)
    recorder.port = server.sockets[0].getsockname()[1]
    try:
        yield recorder
    finally:
        server.close()
