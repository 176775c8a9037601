from typing import Any

import pytest

from eventwire.errors import UrlError
from eventwire.transport import DriverOptions
from eventwire.transports.amqp.settings import Settings
from eventwire.url import BrokerUrl


def read(url: str, **options: Any) -> Settings:
    return Settings.read(BrokerUrl.parse(url), DriverOptions(**options))


def test_defaults() -> None:
    settings = read("amqp://")
    assert [settings.address(host) for host in settings.hosts] == ["amqp://localhost:5672/"]
    assert (settings.connect_timeout, settings.max_body, settings.prefetch, settings.unrouted) == (
        10.0,
        16 * 2**20,
        200,
        False,
    )
    expected = {"login": "guest", "password": "guest", "virtualhost": "/", "ssl": False, "heartbeat": 15}
    assert settings.producer == settings.consumer == expected


def test_everything_set() -> None:
    settings = read(
        "amqps://me:p%40ss@[::1]:99,other/a%2Fb?connect_timeout=2&heartbeat=5&unrouted=allow&max_body=9"
        "&prefetch=7&name=shop&cafile=/ca",
        producer={"client_properties": {"a": "b"}},
    )
    assert [settings.address(host) for host in settings.hosts] == [
        "amqps://[::1]:99/a/b",
        "amqps://other:5671/a/b",
    ]
    assert (settings.connect_timeout, settings.max_body, settings.prefetch, settings.unrouted) == (
        2,
        9,
        7,
        True,
    )
    assert settings.consumer == {
        "login": "me",
        "password": "p@ss",
        "virtualhost": "a/b",
        "ssl": True,
        "heartbeat": 5,
        "name": "shop",
        "cafile": "/ca",
    }
    assert settings.producer["client_properties"] == {"a": "b"}


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("conect_timeout=1", "aio-pika has no option `conect_timeout`; did you mean `connect_timeout`"),
        ("unrouted=maybe", "`error` or `allow`"),
        ("prefetch=0", "at least 1"),
        ("prefetch=65536", "at most 65535"),
        ("connect_timeout=soon", "is a number"),
        ("no_verify_ssl=perhaps", "true or false"),
    ],
)
def test_a_wrong_option_is_named(query: str, told: str) -> None:
    with pytest.raises(UrlError, match=told) as caught:
        read(f"amqp://me:canary@h/?{query}")
    assert "canary" not in str(caught.value)


def test_driver_options_are_the_clients() -> None:
    with pytest.raises(UrlError, match="aio-pika's connect has no option `acks` \\(producer\\)"):
        read("amqp://h", producer={"acks": "all"})
    with pytest.raises(UrlError, match="`host` \\(consumer\\)"):
        read("amqp://h", consumer={"host": "elsewhere"})
    with pytest.raises(UrlError, match="no admin client"):
        read("amqp://h", admin={"heartbeat": 1})


def test_an_unverified_certificate_is_asked_for_and_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    assert "no_verify_ssl" not in read("amqps://h?no_verify_ssl=false").producer
    assert not caplog.records
    assert read("amqps://me:canary@h?no_verify_ssl=true").producer["no_verify_ssl"] == "1"
    assert "not verified" in caplog.text
    assert "canary" not in caplog.text


def test_the_password_is_in_no_repr() -> None:
    assert "canary" not in repr(read("amqp://me:canary@h"))


def test_a_vhost_longer_than_the_client_takes_is_refused() -> None:
    assert read(f"amqp://h/{'v' * 127}").vhost == "v" * 127
    with pytest.raises(UrlError, match="at most 127 characters"):
        read(f"amqp://h/{'v' * 128}")
