"""Why a cluster cannot be reached: aiokafka says it only to its log."""

from __future__ import annotations

import ssl

from eventwire import tls
from eventwire.url import BrokerUrl

_PORT = 9092
_LOG = "aiokafka's log says why"


async def why_not(url: BrokerUrl, context: ssl.SSLContext | None, within: float) -> str:
    """What the first host says to a TLS handshake, and what to do about it. `within` is in seconds."""
    host = url.hosts[0]
    if context is None:
        if await tls.speaks(host.name, host.port or _PORT, within):
            return "this port speaks TLS: use `kafka+ssl://`"
        return _LOG
    reason = await tls.refusal(host.name, host.port or _PORT, context, within)
    advice = tls.advice(reason, authority="ssl_cafile", plain="kafka")
    return ": ".join(text for text in (reason, advice) if text) or _LOG
