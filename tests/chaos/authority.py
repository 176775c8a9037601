"""Certificates made for one run: an authority, and servers' certificates that are right or wrong in one way."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tools.servers import Tls

USER, CANARY = "canary", "c4n4ry-s3cret"


class Authority:
    """Its files are in `folder`; `other` is the certificate of an authority that signed nothing."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self.file = folder / "authority.pem"
        self.other = folder / "other.pem"
        self._ca.cert_pem.write_to_path(str(self.file))
        trustme.CA().cert_pem.write_to_path(str(self.other))

    def tls(self, name: str = "localhost", not_after: datetime | None = None) -> Tls:
        """A listener's files."""
        made = self._ca.issue_cert(name, not_after=not_after)
        certificate, key = self._folder / f"{name}-{id(made)}.pem", self._folder / f"{name}-{id(made)}.key"
        certificate.write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
        secret = load_pem_private_key(made.private_key_pem.bytes(), None)
        key.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return Tls(certificate, key, self.file, USER, CANARY)

    def context(self, name: str = "localhost", *, expired: bool = False) -> ssl.SSLContext:
        """A server's side."""
        files = self.tls(name, datetime(2020, 1, 1, tzinfo=UTC) if expired else None)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        return context
