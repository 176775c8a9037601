from __future__ import annotations

import sys

import pytest

from eventwire import MissingDriver, UrlError
from eventwire.links import make_transport
from eventwire.transport import DriverOptions


@pytest.mark.parametrize(
    ("url", "driver", "extra", "modules"),
    [
        ("kafka://localhost", "aiokafka", "kafka", "eventwire.transports.kafka"),
        ("amqp://localhost", "aio_pika", "amqp", "eventwire.transports.amqp"),
    ],
)
def test_a_driver_that_is_not_installed_is_named_with_its_extra(
    url: str, driver: str, extra: str, modules: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name == modules or name.startswith((f"{modules}.", f"{driver}.")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(MissingDriver, match=rf"needs {driver}: pip install 'eventwire\[{extra}\]'"):
        make_transport(url, DriverOptions())


def test_an_unknown_scheme_lists_the_known_ones() -> None:
    with pytest.raises(UrlError, match=r"no transport for `nats://`: installed are .*sqlite://"):
        make_transport("nats://localhost", DriverOptions())


def test_a_transport_is_made_without_io() -> None:
    assert make_transport("kafka://nowhere.invalid:1", DriverOptions()).features.transport == "kafka"
