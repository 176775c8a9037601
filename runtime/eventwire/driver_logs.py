"""What clients of brokers write to their logs at DEBUG: whole requests, a password and every payload among them."""

from __future__ import annotations

import logging


class TypesOnly(logging.Filter):
    """Lets addresses, numbers and names pass and shows everything else by its type."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let it pass; at DEBUG its arguments are replaced."""
        if record.levelno <= logging.DEBUG and isinstance(record.args, tuple):
            record.args = tuple(
                arg if isinstance(arg, str | int) else type(arg).__name__ for arg in record.args
            )
        return True
