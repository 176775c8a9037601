"""What the URL and the driver options mean for aiokafka's three clients.

An option of the URL goes to every client whose constructor knows it, as the type of that parameter's default.
"""

from __future__ import annotations

import difflib
import inspect
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NoReturn

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from eventwire.errors import ConfigurationError, UrlError
from eventwire.transport import DriverOptions
from eventwire.url import BrokerUrl

log = logging.getLogger(__name__)

MAX_REQUEST_SIZE = 1 << 20
_MAX_BATCH_SIZE = 256 << 10  # at aiokafka's 16 KiB a publish costs three times as much
_SESSION_TIMEOUT_MS = 30_000
_REBALANCE_TIMEOUT_MS = 45_000
_JOIN_SLACK_MS = 5_000
_AFTER_DRAIN = 5.0

_OURS = ("connect_timeout", "replication_factor")
_TLS = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_check_hostname", "ssl_verify")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER")
_WITHOUT_PASSWORD = ("GSSAPI", "OAUTHBEARER")
_NUMBERS_BY_SUFFIX = ("_ms", "_bytes", "_records", "_size")
_NONE = ("none", "null", "")

_ACKS = "every publish is confirmed by all in-sync replicas, once"
_BYTES = "Eventwire encodes and decodes"
_URL_SAYS = "the URL's scheme, hosts and credentials say it"
_RESERVED: Mapping[str, str] = {
    "acks": _ACKS,
    "enable_idempotence": _ACKS,
    "transactional_id": "transactions are not a transport's option",
    "transaction_timeout_ms": "transactions are not a transport's option",
    "partitioner": "a key's partition is Java's murmur2 on every transport",
    "key_serializer": _BYTES,
    "value_serializer": _BYTES,
    "key_deserializer": _BYTES,
    "value_deserializer": _BYTES,
    "group_id": "the group is the worker's",
    "enable_auto_commit": "only what was acked is committed",
    "auto_commit_interval_ms": "only what was acked is committed",
    "auto_offset_reset": "a group's start says where it begins, and a lost offset is an error, never a jump",
    "isolation_level": "aborted transactions are never read",
    "exclude_internal_topics": "topics are subscribed by name",
    "bootstrap_servers": _URL_SAYS,
    "security_protocol": _URL_SAYS,
    "sasl_plain_username": _URL_SAYS,
    "sasl_plain_password": _URL_SAYS,
    "api_version": "aiokafka finds it out",
    "loop": "it is the running one",
}

_PRODUCER: Mapping[str, Any] = {"acks": "all", "enable_idempotence": True, "linger_ms": 0}
_CONSUMER: Mapping[str, Any] = {
    "enable_auto_commit": False,
    "auto_offset_reset": "none",
    "isolation_level": "read_committed",
    "session_timeout_ms": _SESSION_TIMEOUT_MS,
    "heartbeat_interval_ms": 3_000,
    "rebalance_timeout_ms": _REBALANCE_TIMEOUT_MS,
    "max_poll_interval_ms": 300_000,
}


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Keyword arguments for aiokafka's clients, and what is for the transport itself. Times are in seconds.

    The clients' arguments have the password in them.
    """

    producer: Mapping[str, Any] = field(repr=False)
    consumer: Mapping[str, Any] = field(repr=False)
    admin: Mapping[str, Any] = field(repr=False)
    connect_timeout: float
    replication_factor: int

    @property
    def drain(self) -> float:
        """How long a consumer may finish what it is handling before it gives partitions up.

        Half of the rebalance timeout, and 5 seconds less than it, for the last commit and the join.
        """
        seconds = float(self.consumer["rebalance_timeout_ms"]) / 1000
        return min(seconds / 2, max(seconds - _AFTER_DRAIN, seconds / 4))


def read_options(url: BrokerUrl, options: DriverOptions) -> ClientOptions:
    """Read everything without I/O but the TLS files. Raises UrlError for what nobody knows or what is refused."""
    if not url.hosts or url.path:
        _fail(f"{url}: a Kafka URL is kafka://host:port,host:port, without a path")
    _check_names(url, options)
    common, patience = _common(url), url.number("connect_timeout", 10.0, least=0.001)
    producer = {**_PRODUCER, **common, **_of_url(url, "producer"), **options.producer}
    producer.setdefault("max_request_size", MAX_REQUEST_SIZE)
    producer.setdefault("max_batch_size", min(_MAX_BATCH_SIZE, int(producer["max_request_size"])))
    consumer = {**_CONSUMER, **common, **_of_url(url, "consumer"), **options.consumer}
    # A JoinGroup is answered when the slowest member has joined: a shorter request timeout would break it off.
    consumer.setdefault("request_timeout_ms", int(consumer["rebalance_timeout_ms"]) + _JOIN_SLACK_MS)
    return ClientOptions(
        producer=producer,
        consumer=consumer,
        # Administration is a few small questions: whoever asks them waits as for a connection.
        admin={
            **common,
            "request_timeout_ms": int(patience * 1000),
            **_of_url(url, "admin"),
            **options.admin,
        },
        connect_timeout=patience,
        replication_factor=int(url.number("replication_factor", -1, least=-1)),
    )


@cache
def _parameters() -> Mapping[str, Mapping[str, inspect.Parameter]]:
    clients = {"producer": AIOKafkaProducer, "consumer": AIOKafkaConsumer, "admin": AIOKafkaAdminClient}
    return {
        part: {
            name: parameter
            for name, parameter in inspect.signature(client).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        for part, client in clients.items()
    }


def _check_names(url: BrokerUrl, options: DriverOptions) -> None:
    parts = {"producer": options.producer, "consumer": options.consumer, "admin": options.admin}
    for name in (*url.options, *(name for given in parts.values() for name in given)):
        if name in _RESERVED:
            _fail(f"{url}: option `{name}` is not for you to set: {_RESERVED[name]}")
    known = {name for part in _parameters().values() for name in part} - _RESERVED.keys() - {"ssl_context"}
    url.only((*known, *_OURS, *_TLS), "aiokafka")
    for part, given in parts.items():
        for name in given:
            _check_driver_option(part, name)


def _check_driver_option(part: str, name: str) -> None:
    known = _parameters()[part].keys() - _RESERVED.keys()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        _fail(f"aiokafka's {part} has no option `{name}`{hint}")


def _of_url(url: BrokerUrl, part: str) -> dict[str, Any]:
    parameters = _parameters()[part]
    return {
        name: _coerce(url, parameters[name], text) for name, text in url.options.items() if name in parameters
    }


def _coerce(url: BrokerUrl, parameter: inspect.Parameter, text: str) -> Any:
    name, default = parameter.name, parameter.default
    if text.lower() in _NONE and (default is None or name == "connections_max_idle_ms"):
        return None
    if isinstance(default, bool):
        return url.boolean(name, default=default)
    if isinstance(default, int) or (default is None and name.endswith(_NUMBERS_BY_SUFFIX)):
        return _integer(url, name, text)
    if isinstance(default, float):
        return url.number(name, default)
    if default is None or isinstance(default, str):
        return text
    return _fail(
        f"{url}: option `{name}` is an object: pass it to the Bus, as producer=, consumer= or admin="
    )


def _integer(url: BrokerUrl, name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        _fail(f"{url}: option `{name}` is a whole number", error)


def _common(url: BrokerUrl) -> dict[str, Any]:
    """What all three clients need: where, and as whom."""
    tls, mechanism = url.scheme == "kafka+ssl", url.options.get("sasl_mechanism", "PLAIN")
    sasl = url.username is not None or "sasl_mechanism" in url.options
    if mechanism not in _MECHANISMS:
        _fail(f"{url}: option `sasl_mechanism` is one of {', '.join(_MECHANISMS)}")
    if sasl and mechanism not in _WITHOUT_PASSWORD and (url.username is None or url.password is None):
        _fail(f"{url}: SASL {mechanism} needs a user and a password: kafka://user:password@host")
    if not tls and (stray := [name for name in _TLS if name in url.options]):
        _fail(f"{url}: option `{stray[0]}` is for kafka+ssl:// only")
    return {
        "bootstrap_servers": [host.address(9092) for host in url.hosts],
        "client_id": "eventwire",
        "security_protocol": ("SASL_" if sasl else "") + ("SSL" if tls else "PLAINTEXT"),
        "ssl_context": _tls_context(url) if tls else None,
        "sasl_plain_username": url.username,
        "sasl_plain_password": url.password,
    }


def _tls_context(url: BrokerUrl) -> ssl.SSLContext:
    """Verifies the certificate and the host name unless `ssl_verify=false` or `ssl_check_hostname=false`."""
    files = {name: url.options.get(name) for name in _TLS}
    try:
        context = ssl.create_default_context(cafile=files["ssl_cafile"])
        if files["ssl_certfile"]:
            context.load_cert_chain(files["ssl_certfile"], files["ssl_keyfile"], files["ssl_password"])
    except OSError as error:
        raise ConfigurationError(f"{url}: the TLS files cannot be used: {error}") from error
    verify = url.boolean("ssl_verify", default=True)
    context.check_hostname = verify and url.boolean("ssl_check_hostname", default=True)
    if not verify:
        context.verify_mode = ssl.CERT_NONE
    if not context.check_hostname:
        log.warning("%s: the broker's certificate is not fully verified", url)
    return context


def _fail(text: str, cause: Exception | None = None) -> NoReturn:
    raise UrlError(text) from cause
