"""librdkafka's mock cluster: Kafka brokers inside this process that answer with the errors they are told to.

It comes with confluent-kafka, which exports the functions without a Python interface. Its limits: a group of one member
only (with two, aiokafka's SyncGroup is refused), nothing on disk, topics are made by `topic`, not by an admin client.
"""

from __future__ import annotations

import ctypes
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

import confluent_kafka

_PRODUCER = 0
_TEXT = 512


class Api(IntEnum):
    """The requests whose answers can be chosen, by their key in Kafka's protocol."""

    PRODUCE = 0
    OFFSET_COMMIT = 8
    JOIN_GROUP = 11
    HEARTBEAT = 12


class Answer(IntEnum):
    """Error codes of Kafka's protocol."""

    CORRUPT_MESSAGE = 2
    UNKNOWN_TOPIC_OR_PARTITION = 3
    LEADER_NOT_AVAILABLE = 5
    NOT_LEADER = 6
    REQUEST_TIMED_OUT = 7
    COORDINATOR_LOAD_IN_PROGRESS = 14
    COORDINATOR_NOT_AVAILABLE = 15
    NOT_COORDINATOR = 16
    NOT_ENOUGH_REPLICAS = 19
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20
    ILLEGAL_GENERATION = 22
    UNKNOWN_MEMBER_ID = 25
    REBALANCE_IN_PROGRESS = 27
    TOPIC_AUTHORIZATION_FAILED = 29
    CLUSTER_AUTHORIZATION_FAILED = 31
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45
    INVALID_PRODUCER_EPOCH = 47
    UNKNOWN_PRODUCER_ID = 59


def _library() -> ctypes.CDLL:
    folder = Path(confluent_kafka.__file__).parent
    found = sorted(folder.parent.glob("confluent_kafka.libs/librdkafka*"))
    library = ctypes.CDLL(str(found[0] if found else next(folder.glob("cimpl*"))))
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, ()),
        ("rd_kafka_conf_set", ctypes.c_int, (pointer, text, text, text, ctypes.c_size_t)),
        ("rd_kafka_new", pointer, (ctypes.c_int, pointer, text, ctypes.c_size_t)),
        ("rd_kafka_destroy", None, (pointer,)),
        ("rd_kafka_mock_cluster_new", pointer, (pointer, ctypes.c_int)),
        ("rd_kafka_mock_cluster_destroy", None, (pointer,)),
        ("rd_kafka_mock_cluster_bootstraps", text, (pointer,)),
        ("rd_kafka_mock_topic_create", ctypes.c_int, (pointer, text, ctypes.c_int, ctypes.c_int)),
        ("rd_kafka_mock_broker_set_down", ctypes.c_int, (pointer, ctypes.c_int32)),
        ("rd_kafka_mock_broker_set_up", ctypes.c_int, (pointer, ctypes.c_int32)),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, (pointer, ctypes.c_int32)),
        ("rd_kafka_mock_clear_request_errors", None, (pointer, ctypes.c_int16)),
        (
            "rd_kafka_mock_push_request_errors_array",
            None,
            (pointer, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int)),
        ),
    ):
        function = getattr(library, name)  # it is kept; `library[name]` would be another one each time
        function.restype, function.argtypes = result, arguments
    return library


class MockCluster:
    """One cluster of brokers, numbered from 1. Made by `mock_cluster`."""

    def __init__(self, library: ctypes.CDLL, handle: int) -> None:
        self._library = library
        self._handle = handle

    @property
    def url(self) -> str:
        """For `Bus` and transports."""
        servers: bytes = self._library.rd_kafka_mock_cluster_bootstraps(self._handle)
        return f"kafka://{servers.decode()}"

    def topic(self, name: str, partitions: int = 1) -> None:
        """Make a topic."""
        self._must(self._library.rd_kafka_mock_topic_create(self._handle, name.encode(), partitions, 1))

    def answer(self, api: Api, errors: Sequence[Answer]) -> None:
        """Let the next requests of this kind fail with these errors, one for each."""
        codes = (ctypes.c_int * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(self._handle, api, len(errors), codes)

    def behave(self) -> None:
        """Forget errors that nobody met."""
        for api in Api:
            self._library.rd_kafka_mock_clear_request_errors(self._handle, api)

    def down(self, broker: int = 1) -> None:
        """Close a broker's connections, and refuse new ones."""
        self._must(self._library.rd_kafka_mock_broker_set_down(self._handle, broker))

    def up(self, broker: int = 1) -> None:
        """Let it answer again; what was written is kept."""
        self._must(self._library.rd_kafka_mock_broker_set_up(self._handle, broker))

    @staticmethod
    def _must(error: int) -> None:
        if error:
            raise RuntimeError(f"the mock cluster refuses: error {error}")


@contextmanager
def mock_cluster(brokers: int = 1) -> Generator[MockCluster]:
    """A cluster for as long as the block lasts."""
    library = _library()
    text = ctypes.create_string_buffer(_TEXT)
    conf = library.rd_kafka_conf_new()
    library.rd_kafka_conf_set(conf, b"log_level", b"0", text, _TEXT)
    owner = library.rd_kafka_new(_PRODUCER, conf, text, _TEXT)
    if not owner:
        raise RuntimeError(text.value.decode())
    handle = library.rd_kafka_mock_cluster_new(owner, brokers)
    library.rd_kafka_mock_group_initial_rebalance_delay_ms(handle, 0)
    try:
        yield MockCluster(library, handle)
    finally:
        library.rd_kafka_mock_cluster_destroy(handle)
        library.rd_kafka_destroy(owner)
