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
from typing import NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

from eventwire.errors import UrlError

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_HOST = re.compile(
    r"\[(?P<v6>[0-9A-Fa-f:.]+(?:%25[^\]]+)?)\](?::(?P<port6>[^:]*))?|(?P<name>[^:\[\]]*)(?::(?P<port>[^:]*))?"
)
_SECRET = re.compile(r"(?i)pass|secret|token|credential|(?:^|_)key$")
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
        try:
            parts = urlsplit(f"x://{rest}")
        except ValueError as error:
            _fail(f"the {scheme} URL cannot be read: brackets around an IPv6 address do not match", error)
        if "@" in parts.path + parts.query or parts.fragment:  # may be a password that was cut: shown nowhere
            _fail(f"the {scheme} URL has a stray `@` or `#`: write `/` as %2F, `?` %3F, `#` %23, `@` %40")
        credentials, _, hosts = parts.netloc.rpartition("@")
        user, colon, password = credentials.partition(":")
        return cls(
            scheme=scheme,
            hosts=_hosts(scheme, hosts),
            username=unquote(user) if user else None,
            password=unquote(password) if colon else None,
            path=unquote(parts.path.removeprefix("/")),
            options=_options(scheme, parts.query),
        )

    def __str__(self) -> str:
        user = (
            ""
            if self.username is None
            else self.username + (":***" if self.password is not None else "") + "@"
        )
        path = f"/{self.path}" if self.path else ""
        query = "&".join(
            f"{name}={'***' if _SECRET.search(name) else value}" for name, value in self.options.items()
        )
        return f"{self.scheme}://{user}{','.join(map(str, self.hosts))}{path}{'?' + query if query else ''}"

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
    name = match and (match["v6"] or match["name"])
    if not match or not name:
        _fail(
            f"the {scheme} URL's host list is malformed at `{text}`: write host:port,host:port and IPv6 as [::1]:port"
        )
    port = match["port6"] if match["v6"] else match["port"]
    if port is None:
        return Host(unquote(name))
    if not (port.isascii() and port.isdigit() and int(port) in _PORTS):
        _fail(f"the {scheme} URL's host `{name}` has port `{port}`: a port is a number from 1 to 65535")
    return Host(unquote(name), int(port))


def _options(scheme: str, query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in options:
            _fail(f"the {scheme} URL gives option `{name}` twice")
        options[name] = value
    return options


def _fail(text: str, cause: Exception | None = None) -> NoReturn:
    raise UrlError(text) from cause
