from eventwire import Message


def test_a_message_shows_no_value() -> None:
    message = Message("t", b"secret", b"secret", (("authorization", b"secret"),), "text/plain", "id-1")
    assert repr(message) == (
        "<Message 'id-1' of t, text/plain, key of 6 bytes, body of 6 bytes, headers: authorization>"
    )


def test_a_tombstone_and_many_headers_are_told_shortly() -> None:
    message = Message("t", None, headers=tuple((f"h{n}", b"") for n in range(30)))
    assert repr(message).endswith("h19 and 10 more>")
    assert "no key, no body" in repr(message)
