"""libfaketime: the machine's own, or Debian's package unpacked in the cache."""

from pathlib import Path

from .debian import unpacked
from .errors import Unavailable

PLACES = ("usr/lib/*-linux-gnu*/faketime/libfaketime.so.1", "usr/lib*/faketime/libfaketime.so.1")


def library() -> Path:
    """What to preload. Raises Unavailable."""
    found = _under(Path("/")) or _under(unpacked("libfaketime", _as_it_is))
    if found is None:
        raise Unavailable("install libfaketime: the unpacked package holds no library")
    return found


def _under(root: Path) -> Path | None:
    return next((path for place in PLACES for path in sorted(root.glob(place))), None)


def _as_it_is(_: Path) -> None:
    """Nothing in it names its place."""
