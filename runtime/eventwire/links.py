"""From a URL to a transport: the entry point group `eventwire.transports`, loaded only when a URL asks for it."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from eventwire.errors import MissingDriver, UrlError
from eventwire.transport import DriverOptions, Transport, TransportFactory
from eventwire.url import BrokerUrl

GROUP = "eventwire.transports"


def make_transport(url: str, options: DriverOptions) -> Transport:
    """The transport for a URL, not connected yet. Raises UrlError and MissingDriver."""
    parsed = BrokerUrl.parse(url)
    return _load(_entry_point(parsed.scheme))(parsed, options)


def _entry_point(scheme: str) -> EntryPoint:
    found = entry_points(group=GROUP, name=scheme)
    if not found:
        known = ", ".join(sorted({f"{entry.name}://" for entry in entry_points(group=GROUP)}))
        raise UrlError(f"no transport for `{scheme}://`: installed are {known}")
    return next(iter(found))


def _load(entry: EntryPoint) -> TransportFactory:
    try:
        factory: TransportFactory = entry.load()
    except ModuleNotFoundError as error:
        driver = (error.name or "its driver").partition(".")[0]
        extra = entry.module.rpartition(".")[2]
        raise MissingDriver(f"`{entry.name}://` needs {driver}: pip install 'eventwire[{extra}]'") from error
    return factory
