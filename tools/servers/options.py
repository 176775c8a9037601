"""What a private server can be asked for beside its plain listener."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Tls:
    """A TLS listener, on a port of its own, where `username` has to log in with `password`.

    PEM files: the server's certificate with its chain, its private key in PKCS 8, the authority that signed it.
    """

    certificate: Path
    key: Path
    authority: Path
    username: str
    password: str


@dataclass(frozen=True)
class Options:
    """`tls` opens a listener, whose URL is `Server.urls["tls"]`.

    `advertised` is the port of a proxy: Kafka sends clients there that came by `Server.urls["behind"]`, where the proxy
    has to connect to. Other brokers send nobody anywhere, they can be behind any proxy.
    """

    tls: Tls | None = None
    advertised: int | None = None
