from uuid import uuid4

import pytest

from eventwire.testing.conformance import Harness
from eventwire.testing.conformance.suite import Suite
from eventwire.transports.memory import MemoryTransport


class TestMemory(Suite):
    @pytest.fixture
    def harness(self) -> Harness:
        return Harness(f"memory://{uuid4()}", MemoryTransport)
