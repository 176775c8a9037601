"""Keeps payloads and credentials out of aiokafka's debug log.

At DEBUG aiokafka writes whole requests (a SASL password is one) and every key and value it sends.
"""

from __future__ import annotations

import logging

_TALKATIVE = ("aiokafka.conn", "aiokafka.producer.producer")


class _TypesOnly(logging.Filter):
    """Lets addresses, numbers and names pass and shows everything else by its type."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno <= logging.DEBUG and isinstance(record.args, tuple):
            record.args = tuple(
                arg if isinstance(arg, str | int) else type(arg).__name__ for arg in record.args
            )
        return True


_FILTER = _TypesOnly()


def keep_secrets() -> None:
    """Filter the loggers that would tell. Doing it again changes nothing."""
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_FILTER)
