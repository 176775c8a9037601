import time

import pytest

from eventwire.testing.conformance import Harness
from eventwire.testing.conformance.suite import Suite
from eventwire.transports.amqp import AmqpTransport
from tools.servers import Server


@pytest.mark.server
class TestAmqp(Suite):
    @pytest.fixture
    def harness(self, amqp_server: Server) -> Harness:
        def restart() -> None:
            time.sleep(1.5)  # Server.kill: a younger quorum queue does not outlive it
            amqp_server.kill()
            amqp_server.start()

        again = restart if amqp_server.controllable else None
        return Harness(amqp_server.url, AmqpTransport, restart=again, scale=0.1, deadline=60, quiet=0.5)
