"""CloudEvents attributes: names, and values that are made for every event (CloudEvents 1.0, "Context Attributes")."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from eventwire.errors import Undecodable

SPECVERSION = b"1.0"
REQUIRED = ("id", "source", "type", "specversion")
CORRELATION = "correlationid"
CAUSATION = "causationid"
TYPE_URL = "type.googleapis.com/"


def source_of(package: str, service: str | None) -> str:
    """The `source` of a topic's events: the service where one is configured, else the package as a URI path."""
    return service or "/" + package.replace(".", "/")


def rfc3339(seconds: float) -> bytes:
    """Seconds since the Unix epoch as RFC 3339 in UTC, with microseconds. Raises ValueError outside years 1 to 9999."""
    micros = round(seconds * 1_000_000)
    return b"%b.%06dZ" % (_second(micros // 1_000_000), micros % 1_000_000)


@lru_cache(maxsize=8)
def _second(seconds: int) -> bytes:
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError) as error:
        raise ValueError(f"{seconds} seconds since 1970 is no date of the years 1 to 9999") from error
    return moment.replace(tzinfo=None).isoformat().encode()


def require_version(specversion: bytes) -> None:
    """Raise Undecodable for a CloudEvent that is not of version 1 (CloudEvents 1.0, "specversion")."""
    if not specversion.startswith(b"1."):
        raise Undecodable(
            f"CloudEvents `specversion` is `{specversion[:20].decode(errors='replace')}`; 1.0 is read"
        )
