"""Broker URLs: one grammar for all transports.

    scheme://[user[:password]@]host[:port][,host[:port]...][/path][?option=value&...]

Hosts may be IPv6 addresses in brackets. User, password and path are percent-decoded (RFC 3986, section 2.1). The
password never appears in `str()`, `repr()` or an error.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import NoReturn
from urllib.parse import parse_qsl, quote, quote_plus, unquote

from eventwire.errors import UrlError

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_HOST = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)(?:%25(?P<zone>[^\]\s]+))?\]|(?P<name>[^:\[\]\s]+))(?::(?P<port>[^:]*))?"
)
_SECRET = re.compile(r"(?i)pass|pwd|secret|token|credential|key$")
_IPV6 = 6
_PORT = re.compile(r"[0-9]{1,5}")
_PORTS = range(1, 65536)
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, slots=True)
class Host:
    """One host of a URL; `port` is None where the transport's default holds."""

    name: str
    port: int | None = None

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port is None else f"{name}:{self.port}"

    def address(self, default_port: int) -> str:
        """`host:port`, IPv6 in brackets."""
        return str(Host(self.name, self.port or default_port))


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """A parsed URL. `path` is without its leading slash; `options` are the query's, each at most once."""

    scheme: str
    hosts: tuple[Host, ...] = ()
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    path: str = ""
    options: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    @classmethod
    def parse(cls, text: str) -> BrokerUrl:
        """Read a URL. Raises UrlError, whose text never shows the password."""
        scheme, separator, rest = text.partition("://")
        if not separator or not _SCHEME.fullmatch(scheme):
            _fail("a broker URL looks like `kafka://host:9092`; this one has no scheme")
        place, _, query = rest.partition("?")
        authority, _, path = place.partition("/")
        if "#" in rest or "@" in path + query:  # may be a password that was cut: shown nowhere
            _fail(f"the {scheme} URL has a stray `@` or `#`: write `/` as %2F, `?` %3F, `#` %23, `@` %40")
        credentials, _, hosts = authority.rpartition("@")
        user, colon, password = credentials.partition(":")
        return cls(
            scheme=scheme,
            hosts=_hosts(scheme, hosts),
            username=unquote(user) if user else None,
            password=unquote(password) if colon else None,
            path=unquote(path),
            options=_options(scheme, query),
        )

    def __str__(self) -> str:
        masked = "" if self.password is None else ":***"
        user = (
            "" if self.username is None and not masked else f"{quote(self.username or '', safe='')}{masked}@"
        )
        hosts = ",".join(str(host).replace("%", "%25") for host in self.hosts)
        path = f"/{quote(self.path, safe='/:')}" if self.path else ""
        query = "&".join(
            f"{quote_plus(name)}={'***' if _SECRET.search(name) else quote_plus(value, safe='/:,')}"
            for name, value in self.options.items()
        )
        return f"{self.scheme}://{user}{hosts}{path}{'?' + query if query else ''}"

    def only(self, known: Sequence[str], client: str) -> None:
        """Raise UrlError for options other than `known`; `client` is named as the one that does not know them."""
        for name in self.options:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = (
                    f"; did you mean `{near[0]}`?"
                    if near
                    else f"; it knows {', '.join(sorted(known)) or 'none'}"
                )
                _fail(f"{self}: {client} has no option `{name}`{hint}")

    def boolean(self, name: str, *, default: bool) -> bool:
        """The option as a boolean: true, 1, yes, false, 0, no."""
        if (text := self.options.get(name)) is None:
            return default
        if (value := _BOOLEANS.get(text.lower())) is None:
            _fail(f"{self}: option `{name}` is true or false")
        return value

    def number(self, name: str, default: float, *, least: float = 0.0) -> float:
        """The option as a number of at least `least`."""
        if (text := self.options.get(name)) is None:
            return default
        try:
            value = float(text)
        except ValueError as error:
            _fail(f"{self}: option `{name}` is a number", error)
        if not least <= value < float("inf"):
            _fail(f"{self}: option `{name}` is at least {least:g}")
        return value


def _hosts(scheme: str, netloc: str) -> tuple[Host, ...]:
    if not netloc:
        return ()
    return tuple(_host(scheme, text) for text in netloc.split(","))


def _host(scheme: str, text: str) -> Host:
    match = _HOST.fullmatch(text)
    if not match or (match["v6"] and not _is_address(match["v6"])):
        shown = text.partition(":")[0]  # the rest may be a password: a URL whose `@host` was forgotten
        _fail(
            f"the {scheme} URL's host list is malformed at `{shown}`: write host:port,host:port and IPv6 as [::1]:port"
        )
    zone = f"%{unquote(match['zone'])}" if match["zone"] else ""
    name = match["v6"] + zone if match["v6"] else unquote(match["name"])
    port = match["port"]
    if port is None:
        return Host(name)
    if not (_PORT.fullmatch(port) and int(port) in _PORTS):
        _fail(f"the {scheme} URL's host `{name}` has a malformed port: a port is a number from 1 to 65535")
    return Host(name, int(port))


def _is_address(text: str) -> bool:
    try:
        return ip_address(text).version == _IPV6
    except ValueError:
        return False


def _options(scheme: str, query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in options:
            _fail(f"the {scheme} URL gives option `{name}` twice")
        options[name] = value
    return options


def _fail(text: str, cause: Exception | None = None) -> NoReturn:
    raise UrlError(text) from cause
