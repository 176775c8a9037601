"""Sabotage of how servers are verified."""

# pyright: reportPrivateUsage=false
# Sabotage reaches inside.

from __future__ import annotations

import ssl
from typing import Any

from eventwire.transports.amqp.settings import Settings
from eventwire.transports.kafka import options
from eventwire.url import BrokerUrl
from tests.chaos.mutants import mutant

_TOLD = "tests/chaos/test_tls.py::test_nothing_is_told_to_a_server_that_is_refused"


@mutant(bar=f"{_TOLD}[kafka]", sees="told b|says not what to do")
def kafkas_certificate_is_not_verified() -> None:
    """Any certificate will do."""
    make = options._tls_context

    def sabotaged(url: BrokerUrl) -> ssl.SSLContext:
        context = make(url)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    options._tls_context = sabotaged


@mutant(bar=f"{_TOLD}[amqp]", sees="told b|says not what to do")
def rabbitmqs_certificate_is_not_verified() -> None:
    """Any certificate will do."""
    read = Settings.read

    def sabotaged(*args: Any) -> Settings:
        settings = read(*args)
        for arguments in (settings.producer, settings.consumer):
            assert isinstance(arguments, dict)
            arguments["no_verify_ssl"] = "1"
        return settings

    Settings.read = sabotaged  # type: ignore[assignment, method-assign]
