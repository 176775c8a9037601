import pytest

from eventwire.testing.conformance import Harness
from eventwire.testing.conformance.suite import Suite
from eventwire.transports.devnull import DevnullTransport


class TestDevnull(Suite):
    @pytest.fixture
    def harness(self) -> Harness:
        return Harness("devnull://", DevnullTransport)
