"""Why a connection could not be made where TLS is, or is not, spoken; in words that say what to do."""

from __future__ import annotations

import asyncio
import ssl

_HUNG_UP = "the connection was closed during the TLS handshake"
_NO_TLS = "this port speaks no TLS: use the broker's TLS port, or `{plain}://`"
_ADVICE = (
    ("mismatch", "connect by a name that the broker's certificate has"),
    ("expired", "the broker needs a new certificate"),
    ("not yet valid", "compare the clocks"),
    ("CERTIFICATE_VERIFY_FAILED", "where its authority is to be trusted, name its certificate: `{authority}=FILE`"),
    ("WRONG_VERSION_NUMBER", _NO_TLS),
    (_HUNG_UP, _NO_TLS),
)  # fmt: skip


def advice(reason: str, *, authority: str, plain: str) -> str:
    """What to do about a handshake that failed for this reason; empty when nobody knows.

    `authority` is the option that names a file of trusted certificates, `plain` the scheme without TLS.
    """
    for sign, text in _ADVICE:
        if sign in reason:
            return text.format(authority=authority, plain=plain)
    return ""


async def refusal(host: str, port: int, context: ssl.SSLContext, within: float) -> str:
    """Try a handshake, send nothing else; why it failed. Empty when it did not, or failed for another reason."""
    try:
        async with asyncio.timeout(within):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLError as error:
        return str(error)
    except (ConnectionResetError, ConnectionAbortedError):
        return _HUNG_UP
    except (OSError, TimeoutError):
        return ""
    writer.close()
    return ""


async def speaks(host: str, port: int, within: float) -> bool:
    """Whether the port answers a handshake: only for the text of an error, the certificate is not looked at."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(within):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
