"""What a URL and driver options say about a RabbitMQ connection."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aio_pika

from eventwire.errors import UrlError
from eventwire.transport import DriverOptions
from eventwire.url import BrokerUrl, Host

_log = logging.getLogger(__name__)

_PORTS = {"amqp": 5672, "amqps": 5671}
_MOST_PREFETCH = 0xFFFF
_LONGEST_VHOST = 127
"""Characters: the domain `path` of the AMQP 0-9-1 definition, which pamqp enforces."""
_OURS = ("connect_timeout", "heartbeat", "unrouted", "max_body", "prefetch", "no_verify_ssl")
_CLIENTS = ("name", "auth", "cafile", "capath", "cadata", "certfile", "keyfile")
"""Options of aio-pika's connection URL (aio-pika, "URL parameters"), passed on as text."""
_SET_BY_URL = frozenset(
    {"url", "host", "port", "login", "password", "virtualhost", "ssl", "loop", "timeout", "connection_class"}
)
_DRIVER = {
    *(set(inspect.signature(aio_pika.connect).parameters) - _SET_BY_URL - {"kwargs"}),
    *(*_CLIENTS, "heartbeat", "interleave", "happy_eyeballs_delay"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """A RabbitMQ URL, read. Times are in seconds, sizes in bytes.

    `producer` and `consumer` are the keyword arguments of aio-pika's connect for the two kinds of connection:
    publishers have their own, because a broker short of memory or disk stops reading from connections that publish.
    """

    url: BrokerUrl
    hosts: tuple[Host, ...]
    connect_timeout: float
    unrouted: bool
    """Whether a message that no queue would receive counts as published."""
    max_body: int
    prefetch: int
    """How many unsettled messages the broker hands out per queue."""
    producer: Mapping[str, Any] = field(repr=False)
    consumer: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, url: BrokerUrl, options: DriverOptions) -> Settings:
        """Read a URL. Raises UrlError for what neither Eventwire nor aio-pika knows."""
        url.only((*_OURS, *_CLIENTS), "aio-pika")
        if len(url.path) > _LONGEST_VHOST:
            raise UrlError(f"{url}: a vhost has at most {_LONGEST_VHOST} characters (AMQP 0-9-1)")
        for part, given in (("producer", options.producer), ("consumer", options.consumer)):
            _refuse_unknown(url, part, set(given) - _DRIVER)
        if options.admin:
            raise UrlError(
                f"{url}: aio-pika has no admin client; its connection takes `producer` and `consumer`"
            )
        shared = _connection(url)
        return cls(
            url=url,
            hosts=url.hosts or (Host("localhost"),),
            connect_timeout=url.number("connect_timeout", 10.0, least=0.001),
            unrouted=_unrouted(url),
            max_body=int(url.number("max_body", 16 * 1024 * 1024, least=1)),
            prefetch=_prefetch(url),
            producer={**shared, **options.producer},
            consumer={**shared, **options.consumer},
        )

    def port(self, host: Host) -> int:
        """The host's port, or the scheme's."""
        return host.port or _PORTS[self.url.scheme]

    @property
    def vhost(self) -> str:
        """The virtual host."""
        return self.url.path or "/"

    def address(self, host: Host) -> str:
        """What errors and logs call the host: scheme, host, port and virtual host, no credentials."""
        return f"{self.url.scheme}://{host.address(_PORTS[self.url.scheme])}/{self.url.path}"


def _connection(url: BrokerUrl) -> dict[str, Any]:
    """Arguments of aio-pika's connect that hold for every host.

    The heartbeat is how a frozen broker or a dead network is noticed (after about three of them); aio-pika's own
    default of 60 s takes three minutes.
    """
    arguments: dict[str, Any] = {name: url.options[name] for name in _CLIENTS if name in url.options}
    if url.boolean("no_verify_ssl", default=False):
        _log.warning("%s: the broker's certificate is not verified (no_verify_ssl)", url)
        arguments["no_verify_ssl"] = "1"
    return {
        "login": url.username or "guest",
        "password": url.password if url.password is not None else "guest",
        "virtualhost": url.path or "/",
        "ssl": url.scheme == "amqps",
        "heartbeat": int(url.number("heartbeat", 15)),
        **arguments,
    }


def _unrouted(url: BrokerUrl) -> bool:
    text = url.options.get("unrouted", "error")
    if text not in {"error", "allow"}:
        raise UrlError(f"{url}: option `unrouted` is `error` or `allow`")
    return text == "allow"


def _prefetch(url: BrokerUrl) -> int:
    count = int(url.number("prefetch", 200, least=1))
    if count > _MOST_PREFETCH:
        raise UrlError(f"{url}: option `prefetch` is at most 65535 (AMQP 0-9-1, basic.qos)")
    return count


def _refuse_unknown(url: BrokerUrl, part: str, names: set[str]) -> None:
    if names:
        raise UrlError(
            f"{url}: aio-pika's connect has no option {', '.join(f'`{n}`' for n in sorted(names))} ({part})"
        )
