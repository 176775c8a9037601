import ssl
from typing import Any

import pytest

from eventwire.errors import ConfigurationError, UrlError
from eventwire.transport import DriverOptions
from eventwire.transports.kafka import KafkaTransport
from eventwire.transports.kafka.options import ClientOptions, read_options
from eventwire.url import BrokerUrl


def read(text: str, **driver: Any) -> ClientOptions:
    return read_options(BrokerUrl.parse(text), DriverOptions(**driver))


def test_hosts_and_defaults() -> None:
    options = read("kafka://a,b:9093,[::1]:9094")
    for part in (options.producer, options.consumer, options.admin):
        assert part["bootstrap_servers"] == ["a:9092", "b:9093", "[::1]:9094"]
        assert part["security_protocol"] == "PLAINTEXT"
    assert options.producer["acks"] == "all"
    assert options.producer["enable_idempotence"] is True
    assert options.producer["max_batch_size"] == 256 * 1024
    assert options.consumer["enable_auto_commit"] is False
    assert options.consumer["isolation_level"] == "read_committed"
    assert options.connect_timeout == 10.0
    assert options.replication_factor == -1


def test_an_option_goes_to_the_clients_that_know_it_in_its_type() -> None:
    options = read(
        "kafka://a?linger_ms=5&session_timeout_ms=6000&client_id=me&check_crcs=false&max_poll_records=7"
        "&connections_max_idle_ms=none&compression_type=gzip&connect_timeout=1.5&replication_factor=3"
    )
    assert options.producer["linger_ms"] == 5
    assert options.producer["compression_type"] == "gzip"
    assert "linger_ms" not in options.consumer
    assert options.consumer["session_timeout_ms"] == 6000
    assert options.consumer["check_crcs"] is False
    assert options.consumer["max_poll_records"] == 7
    assert [part["client_id"] for part in (options.producer, options.consumer, options.admin)] == ["me"] * 3
    assert options.admin["connections_max_idle_ms"] is None
    assert (options.connect_timeout, options.replication_factor) == (1.5, 3)


def test_a_join_may_take_as_long_as_a_rebalance() -> None:
    options = read("kafka://a?rebalance_timeout_ms=90000")
    assert options.consumer["request_timeout_ms"] > 90_000
    assert options.drain == 45
    assert read("kafka://a?request_timeout_ms=7").consumer["request_timeout_ms"] == 7


def test_a_batch_is_no_larger_than_a_request() -> None:
    assert read("kafka://a?max_request_size=1000").producer["max_batch_size"] == 1000


def test_driver_options_pass_as_they_are() -> None:
    rack = object()
    options = read("kafka://a?client_rack=x", consumer={"client_rack": rack}, producer={"linger_ms": 2.5})
    assert options.consumer["client_rack"] is rack
    assert options.producer["linger_ms"] == 2.5


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("kafka://a?linger_sm=5", "aiokafka has no option `linger_sm`; did you mean `linger_ms`"),
        ("kafka://a?linger_ms=soon", "`linger_ms` is a whole number"),
        ("kafka://a?check_crcs=perhaps", "`check_crcs` is true or false"),
        ("kafka://a?partition_assignment_strategy=sticky", "is an object: pass it to the Bus"),
        ("kafka://a?ssl_context=x", "no option `ssl_context`"),
        ("kafka://a?ssl_cafile=x", "for kafka\\+ssl:// only"),
        ("kafka://a?enable_auto_commit=true", "only what was acked is committed"),
        ("kafka://a?group_id=g", "the group is the worker's"),
        ("kafka://a?acks=1", "confirmed by all in-sync replicas"),
        ("kafka://a?security_protocol=SSL", "the URL's scheme"),
        ("kafka://a?sasl_mechanism=MD5", "one of PLAIN"),
        ("kafka://user@a", "needs a user and a password"),
        ("kafka://a/topic", "without a path"),
        ("kafka://", "kafka://host:port"),
        ("kafka://a?connect_timeout=0", "at least"),
    ],
)
def test_a_url_that_cannot_be_meant(url: str, said: str) -> None:
    with pytest.raises(UrlError, match=said):
        read(url)


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        (
            {"producer": {"lingerms": 1}},
            "aiokafka's producer has no option `lingerms`; did you mean `linger_ms`",
        ),
        ({"consumer": {"linger_ms": 1}}, "aiokafka's consumer has no option `linger_ms`"),
        ({"consumer": {"auto_offset_reset": "latest"}}, "never a jump"),
        ({"admin": {"bootstrap_servers": "b"}}, "the URL's scheme"),
    ],
)
def test_driver_options_that_cannot_be_meant(driver: dict[str, Any], said: str) -> None:
    with pytest.raises(UrlError, match=said):
        read("kafka://a", **driver)


def test_credentials_mean_sasl_and_are_never_shown() -> None:
    options = read("kafka://me:s%40cret@a?sasl_mechanism=SCRAM-SHA-512")
    assert options.producer["security_protocol"] == "SASL_PLAINTEXT"
    assert options.producer["sasl_plain_password"] == "s@cret"  # noqa: S105
    assert options.consumer["sasl_mechanism"] == "SCRAM-SHA-512"
    assert read("kafka+ssl://me:pw@a").admin["security_protocol"] == "SASL_SSL"
    with pytest.raises(UrlError) as failure:
        read("kafka://me:s%40cret@a?bad=1")
    assert "cret" not in str(failure.value)


def test_tls_is_verified_unless_told_otherwise(caplog: pytest.LogCaptureFixture) -> None:
    context = read("kafka+ssl://a").producer["ssl_context"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert not caplog.records
    context = read("kafka+ssl://a?ssl_verify=false").producer["ssl_context"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
    assert "not fully verified" in caplog.text
    with pytest.raises(ConfigurationError, match="TLS files"):
        read("kafka+ssl://a?ssl_cafile=/nowhere")


def test_the_body_limit_is_the_request_limit() -> None:
    url = BrokerUrl.parse("kafka://a?max_request_size=5000")
    assert KafkaTransport(url, DriverOptions()).features.max_body == 5000
    assert KafkaTransport(BrokerUrl.parse("kafka://a"), DriverOptions()).features.max_body == 1 << 20


def test_a_drain_leaves_time_to_commit_and_to_join() -> None:
    drains = {ms: read(f"kafka://a?rebalance_timeout_ms={ms}").drain for ms in (60_000, 8_000, 2_000)}
    assert drains == {60_000: 30, 8_000: 3, 2_000: 0.5}
