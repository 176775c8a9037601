"""How long a group's coordinator may take to be found. Real answers: tests/integration/test_kafka.py."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from aiokafka import OffsetAndMetadata
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, for_code

from eventwire.errors import BrokerError
from eventwire.transport import TopicSpec
from eventwire.transports.kafka import standing

_NOT_AVAILABLE = for_code(15)
_ZERO = KafkaPartition("t", 0)


class Admin:
    """Fails as often as it is told, then answers. `error` tells how."""

    def __init__(self, failures: int, error: type[KafkaError] = _NOT_AVAILABLE) -> None:
        self.failures = failures
        self.error = error
        self.asked = 0

    async def list_consumer_group_offsets(
        self, group_id: str, partitions: list[KafkaPartition]
    ) -> dict[KafkaPartition, OffsetAndMetadata]:
        assert (group_id, partitions) == ("g", [_ZERO])
        self.asked += 1
        if self.asked <= self.failures:
            raise self.error
        return {_ZERO: OffsetAndMetadata(3, "")}


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ends of the log, which have a protocol of their own."""

    async def leaders(admin: object) -> dict[str, dict[int, int]]:
        del admin
        return {"t": {0: 1}}

    async def offsets(admin: object, partitions: object, which: int) -> dict[KafkaPartition, int]:
        del admin, partitions
        return {_ZERO: 10 if which == -1 else 0}

    monkeypatch.setattr(standing, "leaders", leaders)
    monkeypatch.setattr(standing, "_offsets", offsets)
    monkeypatch.setattr(standing, "_FIRST_PAUSE", 0.0)


async def lag(admin: Admin, patience: float) -> int:
    return await standing.lag(cast("AIOKafkaAdminClient", admin), TopicSpec("t"), "g", patience=patience)


async def test_a_coordinator_that_is_just_being_found_is_asked_again() -> None:
    admin = Admin(4)
    assert await lag(admin, 60.0) == 7
    assert admin.asked == 5


async def test_when_its_time_is_over_that_is_an_error() -> None:
    admin = Admin(4)
    with pytest.raises(
        BrokerError, match=r"does not tell the lag of group `g`: .*GroupCoordinatorNotAvailable"
    ):
        await lag(admin, 0.0)
    assert admin.asked == 1


async def test_what_a_person_has_to_mend_is_told_at_once() -> None:
    admin = Admin(1, GroupAuthorizationFailedError)
    with pytest.raises(BrokerError, match="GroupAuthorizationFailed"):
        await lag(admin, 60.0)
    assert await asyncio.wait_for(lag(admin, 60.0), 5) == 7
