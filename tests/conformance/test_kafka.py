import pytest

from eventwire.testing.conformance import Harness
from eventwire.testing.conformance.suite import Suite
from eventwire.transports.kafka import KafkaTransport
from tools.servers import Server


@pytest.mark.server
class TestKafka(Suite):
    @pytest.fixture
    def harness(self, kafka_server: Server) -> Harness:
        def restart() -> None:
            kafka_server.kill()
            kafka_server.start()

        again = restart if kafka_server.controllable else None
        return Harness(kafka_server.url, KafkaTransport, restart=again, scale=0.1, deadline=60, quiet=1)
