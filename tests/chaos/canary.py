"""Looking for a secret where it must not be: logs, errors with their whole chains, what objects say of themselves."""

from __future__ import annotations

import base64
import gc
import logging
import traceback
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from urllib.parse import quote

from tests.chaos.authority import CANARY

HEADER, FIELD = f"{CANARY}-header", f"{CANARY}-field"
_FORMS = (
    CANARY,
    quote(CANARY, safe=""),
    base64.b64encode(CANARY.encode()).decode().rstrip("="),
    CANARY.encode().hex(),
)
_DEPTH = 12


class Listener(logging.Handler):
    """Keeps the lines, tracebacks included, that have the secret; counts the others."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        self.lines = 0
        self.hits: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Format it as a handler of an application would, its arguments and extras too."""
        self.lines += 1
        self.hits += found(f"log of {record.name}", self.format(record))


@contextmanager
def listening() -> Generator[Listener]:
    """Everything at DEBUG, the clients' loggers too."""
    listener, root = Listener(), logging.getLogger()
    level = root.level
    root.addHandler(listener)
    root.setLevel(logging.DEBUG)
    try:
        yield listener
    finally:
        root.removeHandler(listener)
        root.setLevel(level)


def found(where: str, text: str) -> list[str]:
    """Where the secret is, in any of its forms, and what is around it."""
    hits = [(form, text.find(form)) for form in _FORMS if form in text]
    return [f"{where}: ...{text[max(0, at - 200) : at + len(form) + 40]}" for form, at in hits]


def in_error(error: BaseException) -> list[str]:
    """An error, with everything that led to it."""
    text = "".join(traceback.format_exception(error))
    return [*found(f"traceback of {type(error).__name__}", text), *found("repr of an error", _chain(error))]


def _chain(error: BaseException | None) -> str:
    seen: list[str] = []
    while error is not None and len(seen) < _DEPTH:
        seen.append(f"{error!r} {error.args!r}")
        error = error.__cause__ or error.__context__
    return "\n".join(seen)


def in_objects(roots: Iterable[object]) -> list[str]:
    """What everything of ours that can be reached from there says of itself."""
    hits: list[str] = []
    for each in reachable(roots):
        if _module(each) == "eventwire":
            hits += found(f"repr of {type(each).__qualname__}", f"{each!r} {each!s}")
    return hits


def reachable(roots: Iterable[object]) -> list[object]:
    """Objects of ours and what holds them together, not into classes, modules, frames or other libraries."""
    waiting, seen = list(roots), dict[int, object]()
    while waiting:
        each = waiting.pop()
        if id(each) in seen or not _ours(each):
            continue
        seen[id(each)] = each
        waiting.extend(gc.get_referents(each))
    return list(seen.values())


def _ours(each: object) -> bool:
    if isinstance(each, type):
        return False
    return isinstance(each, dict | list | tuple | set | frozenset) or _module(each) == "eventwire"


def _module(each: object) -> str:
    return str(each.__class__.__module__).partition(".")[0]
