"""`sqlite:///file.db`: the durable embedded broker; several processes share one file."""

from eventwire.transports.sqlite.transport import SqliteTransport

__all__ = ["SqliteTransport"]
