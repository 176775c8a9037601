"""`memory://`: a broker within the process that behaves as Kafka does, so that tests mean something."""

from eventwire.transports.memory.transport import MemoryTransport

__all__ = ["MemoryTransport"]
