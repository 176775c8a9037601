"""RabbitMQ 4: what differs from 3.10 is in the broker, so the same tests are run."""

from __future__ import annotations

import pytest

from tests.integration.test_amqp import (
    test_a_delayed_topic_waits_at_the_broker,
    test_acks_are_sent_together_and_the_rest_comes_again,
    test_any_headers_come_back,
    test_missing_and_mismatched,
    transport,
)
from tests.integration.test_amqp_deaths import (
    members,
    spec,
    test_a_poison_is_charged_with_each_death_and_its_neighbours_with_none,
    test_who_ends_as_it_should_makes_nobody_a_suspect,
)
from tools.servers import Server

__all__ = [
    "members",
    "spec",
    "test_a_delayed_topic_waits_at_the_broker",
    "test_a_poison_is_charged_with_each_death_and_its_neighbours_with_none",
    "test_acks_are_sent_together_and_the_rest_comes_again",
    "test_any_headers_come_back",
    "test_missing_and_mismatched",
    "test_who_ends_as_it_should_makes_nobody_a_suspect",
    "transport",
]

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def amqp_server(amqp_4_server: Server) -> Server:
    assert "rabbitmq_server-4" in amqp_4_server.origin
    return amqp_4_server
