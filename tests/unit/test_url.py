from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventwire.errors import UrlError
from eventwire.url import BrokerUrl, Host


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("kafka://a:9092,b:9093", (Host("a", 9092), Host("b", 9093))),
        ("kafka://a,b:1", (Host("a"), Host("b", 1))),
        ("kafka://[::1]:9092,[fe80::1]", (Host("::1", 9092), Host("fe80::1"))),
        ("kafka://[fe80::1%25eth0]:1", (Host("fe80::1%eth0", 1),)),
        ("amqp://user:pass@rabbit", (Host("rabbit"),)),
        ("memory://", ()),
        ("memory://name", (Host("name"),)),
        ("kafka+ssl://a:65535", (Host("a", 65535),)),
    ],
)
def test_hosts(text: str, hosts: tuple[Host, ...]) -> None:
    assert BrokerUrl.parse(text).hosts == hosts


def test_addresses() -> None:
    assert [host.address(9092) for host in BrokerUrl.parse("kafka://a,b:1,[::1]").hosts] == [
        "a:9092",
        "b:1",
        "[::1]:9092",
    ]


def test_credentials_and_path_are_percent_decoded() -> None:
    url = BrokerUrl.parse("amqp://us%40er:p%3Aa%2Fss%25@h/%2Fvhost")
    assert (url.username, url.password, url.path) == ("us@er", "p:a/ss%", "/vhost")


@pytest.mark.parametrize(
    ("text", "path"),
    [("sqlite:///file.db", "file.db"), ("sqlite:////abs/file.db", "/abs/file.db"), ("x://h", "")],
)
def test_paths(text: str, path: str) -> None:
    assert BrokerUrl.parse(text).path == path


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("localhost:9092", "no scheme"),
        ("", "no scheme"),
        ("KAFKA://a", "no scheme"),
        ("kafka://a:x", "host `a` has a malformed port"),
        ("kafka://a:0", "malformed port"),
        ("kafka://a:65536", "malformed port"),
        ("kafka://a:", "port"),
        ("kafka://a:" + "9" * 5000, "port"),
        ("kafka://[::::::::]:1", "malformed"),
        ("kafka://[1.2.3.4]:1", "malformed"),
        ("kafka://a b:1", "malformed"),
        ("kafka://a\n:1", "malformed"),
        ("kafka://a:1,,b:2", "malformed at ``"),
        ("kafka://a,", "malformed"),
        ("kafka://[::1", "brackets|malformed"),
        ("kafka://::1:9092", "malformed"),
        ("kafka://a:1:2", "malformed"),
        ("kafka://a?x=1&x=2", "`x` twice"),
    ],
)
def test_malformed(text: str, error: str) -> None:
    with pytest.raises(UrlError, match=error):
        BrokerUrl.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "amqp://user:canary@host:1/v",
        "amqp://user:canary@a:1,b:x",
        "amqp://user:canary@[::1",
        "amqp://user:canary@a:1,,b",
        "amqp://user:canary@host?x=1&x=2",
        "kafka://a?sasl_password=canary",
        "kafka://a?ssl_key=canary&token=canary",
        "kafka://a?password=canary&password=canary",
        "amqp://user:canary?x@host",
        "amqp://user:canary/x@host",
        "amqp://user:canary#x@host",
        "amqp://user:canary",
        "amqp://user:a:canary",
        "amqp://user:[canary]@host",
        "amqp://user:canary\u2100@host",
        "amqp://:canary@host",
        "kafka://a?apikey=canary&pwd=canary",
    ],
)
def test_secrets_show_nowhere(text: str) -> None:
    try:
        url = BrokerUrl.parse(text)
    except UrlError as error:
        shown = f"{error} {error!r} {error.__cause__} {error.__context__!r}"
    else:
        shown = f"{url} {url!r}"
        if url.options:
            with pytest.raises(UrlError) as caught:
                url.only((), "the client")
            shown += str(caught.value)
    assert "canary" not in shown


def test_str_keeps_what_is_no_secret() -> None:
    assert (
        str(BrokerUrl.parse("amqp://u:p@a:1,[::1]:2/v?x=1&token=t"))
        == "amqp://u:***@a:1,[::1]:2/v?x=1&token=***"
    )


def test_unknown_options_name_the_client_and_the_nearest() -> None:
    url = BrokerUrl.parse("memory://?inlin=true")
    with pytest.raises(UrlError, match="the memory transport has no option `inlin`; did you mean `inline`"):
        url.only(["inline", "max_body"], "the memory transport")
    with pytest.raises(UrlError, match="it knows none"):
        url.only([], "the client")
    url.only(["inlin"], "the client")


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("YES", True), ("false", False), ("no", False)]
)
def test_booleans(text: str, value: bool) -> None:
    assert BrokerUrl.parse(f"x://?b={text}").boolean("b", default=not value) is value


def test_defaults() -> None:
    url = BrokerUrl.parse("x://")
    assert url.boolean("b", default=True)
    assert url.number("n", 3.5) == 3.5


@pytest.mark.parametrize("text", ["maybe", "", "2"])
def test_no_booleans(text: str) -> None:
    with pytest.raises(UrlError, match="true or false"):
        BrokerUrl.parse(f"x://?b={text}").boolean("b", default=True)


@pytest.mark.parametrize("text", ["x", "", "-1", "inf", "nan", "1e999"])
def test_no_numbers(text: str) -> None:
    with pytest.raises(UrlError, match="option `n` is"):
        BrokerUrl.parse(f"x://?n={text}").number("n", 1.0)


words = st.text(min_size=1, max_size=20)


@given(words, st.text(max_size=20), words)
def test_any_text_survives_percent_encoding(user: str, password: str, path: str) -> None:
    text = f"amqp://{quote(user, safe='')}:{quote(password, safe='')}@host/{quote(path, safe='')}"
    url = BrokerUrl.parse(text)
    assert (url.username, url.password, url.path) == (user, password, path)


@given(
    st.lists(st.sampled_from(["a", "b.example", "[::1]", "[fe80::1%25eth0]"]), min_size=1, max_size=3),
    st.none() | st.integers(1, 65535),
    words,
    st.text(max_size=20),
    st.dictionaries(words, st.text(max_size=9), max_size=3),
)
def test_what_is_shown_reads_as_the_same_url(
    hosts: list[str], port: int | None, user: str, path: str, options: dict[str, str]
) -> None:
    query = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in options.items())
    ending = "" if port is None else f":{port}"
    text = f"x://{quote(user, safe='')}@{','.join(host + ending for host in hosts)}/{quote(path, safe='')}?{query}"
    url = BrokerUrl.parse(text)
    hidden = {
        name: "***" if "***" in str(BrokerUrl("x", options={name: "1"})) else options[name]
        for name in options
    }
    assert BrokerUrl.parse(str(url)) == replace(url, options=hidden)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(UrlError):
        assert BrokerUrl.parse(f"kafka://{text}").scheme == "kafka"
