"""Sabotage of what keeps secrets secret."""

from __future__ import annotations

import logging

from eventwire.driver_logs import TypesOnly
from eventwire.message import Message
from eventwire.url import BrokerUrl
from tests.chaos.mutants import mutant

_FOUND = "tests/chaos/test_secrets.py::test_a_secret_is_found_nowhere"


@mutant(bar=f"{_FOUND}[amqp]", sees="hits in .*traceback")
def urls_show_their_password() -> None:
    """A URL is shown as it was given."""
    show = BrokerUrl.__str__

    def sabotaged(self: BrokerUrl) -> str:
        return show(self).replace("***", self.password or "")

    BrokerUrl.__str__ = sabotaged  # type: ignore[method-assign]


@mutant(bar=f"{_FOUND}[amqp]", sees="hits in .*log of aiormq")
def clients_log_what_they_send() -> None:
    """Debug lines of the clients are left as they are."""

    def sabotaged(_: TypesOnly, record: logging.LogRecord) -> bool:
        return True

    TypesOnly.filter = sabotaged  # type: ignore[assignment, method-assign]


@mutant(bar=f"{_FOUND}[memory]", sees="hits in .*repr of a message")
def messages_show_their_values() -> None:
    """A message's repr has its body and headers."""

    def sabotaged(self: Message) -> str:
        return f"{self.body!r} {self.headers!r}"

    Message.__repr__ = sabotaged  # type: ignore[method-assign]
