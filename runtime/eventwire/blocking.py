"""Publishing from synchronous code: Django, Flask, scripts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from concurrent.futures import CancelledError, Future
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from eventwire.batch import BatchReceipt
from eventwire.errors import Closed
from eventwire.message import Receipt
from eventwire.sender import Publisher, Sender

E = TypeVar("E")
E_contra = TypeVar("E_contra", contravariant=True)
R = TypeVar("R")


class Startable(Sender, Protocol):
    """What can be run behind blocking calls: the bus."""

    async def start(self) -> None:
        """Connect."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


class BlockingBus:
    """A bus behind blocking calls, for any number of threads. Its event loop runs in a thread of its own.

    Make it after a fork, not before: threads do not survive one.
    """

    def __init__(self, bus: Startable) -> None:
        self._bus = bus
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()  # nothing is given to a loop that ends

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_serve, args=(self._loop,), name="eventwire", daemon=True)
        self._thread.start()
        try:
            self.run(self._bus.start())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.run(self._bus.close())
        finally:
            self._stop()

    def publisher(self, publisher: Callable[[Sender], Publisher[E]]) -> BlockingPublisher[E]:
        """A generated publisher with blocking methods: `bus.publisher(OrdersPublisher).publish(event)`."""
        return BlockingPublisher(self.run, publisher(self._bus))

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine in the bus's loop and wait for it. Raises what it raises, and Closed."""
        with self._guard:
            if self._loop is None:
                work.close()
                raise Closed("the blocking bus is not open: use `with bus.blocking() as blocking:`")
            future: Future[R] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError as error:
            raise Closed("the blocking bus was closed in another thread before this was done") from error
        except BaseException:
            future.cancel()
            raise

    def _stop(self) -> None:
        with self._guard:
            loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped; what is still under way then ends as cancelled, so that no thread waits on."""
    loop.run_forever()
    loop.run_until_complete(_cancel(asyncio.all_tasks(loop)))
    loop.close()


async def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Run(Protocol):
    """Runs a coroutine in an event loop of another thread and waits for it."""

    def __call__(self, work: Coroutine[Any, Any, R]) -> R:
        """Run it."""
        ...


class BlockingPublisher(Generic[E_contra]):
    """A publisher whose methods block until the broker has confirmed. May be used from several threads."""

    def __init__(self, run: Run, publisher: Publisher[E_contra]) -> None:
        self._run = run
        self._publisher = publisher

    def publish(
        self,
        event: E_contra,
        *,
        headers: Mapping[str, str] | None = None,
        id: str | None = None,
    ) -> Receipt:
        """See `Publisher.publish`."""
        return self._run(self._publisher.publish(event, headers=headers, id=id))

    def publish_many(
        self,
        events: Iterable[E_contra],
        *,
        headers: Mapping[str, str] | None = None,
        max_in_flight: int = 1000,
    ) -> BatchReceipt:
        """See `Publisher.publish_many`."""
        return self._run(self._publisher.publish_many(events, headers=headers, max_in_flight=max_in_flight))
