"""Messages whose headers mean harm: to the broker's protocol, to its client, to Eventwire's own bookkeeping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from eventwire.message import Headers, Message

_TEXTS = (
    b"a\r\nX-Evil: 1", b"\r\n\r\n", b"\0", b"a\0b", b"\xff\xfe", b"\xc3\x28", "Größe ✓".encode(), b"", b" ", b"%0d%0a",
    b"{}", b"'; DROP TABLE log; --", b"9" * 4000, b"\xed\xa0\x80",
)  # fmt: skip
_NAMES = (
    "a\r\nX-Evil: 1", "\r\n", "\0", "a\0b", "", " ", "Größe", "\ud800", "a" * 255, "a" * 256, "é" * 128, "a" * 65536,
    "content-type", "Content-Type", "message_id", "priority", "expiration", "CC", "BCC", "cc", "x-death", "X-Death",
    "x-delivery-count", "x-acquired-count", "x-first-death-queue", "x-first-death-exchange", "x-match", "x-delay",
    "x-opt-forged", "__TypeId__", "__value_schema_id", "traceparent",
)  # fmt: skip
_FORGED = (
    "eventwire_dead_topic", "eventwire_dead_group", "eventwire_dead_attempts", "eventwire_dead_error",
    "eventwire_dead_reason", "eventwire_dead_offset", "eventwire_retry_attempt", "eventwire_retry_attempts",
    "eventwire_retry_due", "eventwire_retry_origin",
    "eventwire_retry_group", "eventwire_attempt", "eventwire_key", "eventwire_tombstone",
    "eventwire_anything", "attempt", "attempts", "x-retry-count", "ce_attempt", "ce_attempts",
)  # fmt: skip
_ATTRIBUTES = (
    "specversion",
    "type",
    "id",
    "source",
    "time",
    "dataschema",
    "subject",
    "correlationid",
    "Type",
    "",
)
_PREFIXES = ("ce_", "cloudEvents_", "cloudEvents:", "ce-", "CE_")


def message(dice: Random, topic: str, number: int) -> Message:
    """One hostile message; `number` makes its body unlike any other."""
    headers = dice.choices(_KINDS, _WEIGHTS)[0](dice)
    made = Message(
        topic, b"%d" % number, b"k%d" % (number % 20), headers, "application/protobuf", f"id-{number}"
    )
    match dice.randrange(12):
        case 0:
            made.key = dice.choice([b"\0", b"\xff" * 256, b"k" * 300, b"\r\n", b"x" * 20_000])
        case 1:
            made.content_type = dice.choice(
                ["a\r\nb: c", "\0", "\ud800", "x" * 300, "", "text/plain; charset=\xff"]
            )
        case 2:
            made.id = dice.choice(
                ["a\r\nb: c", "\0", "\ud800", "i" * 300, "eventwire-without-id-1", " "]
            ) + str(number)
        case _:
            pass
    return made


def forged(dice: Random) -> Headers:
    """Headers that pretend to be Eventwire's own: attempts made, deaths told."""
    return tuple((name, dice.choice([b"1", b"0", b"-1", b"99", b"3", b"x", b""])) for name in _FORGED)


def _names(dice: Random) -> Headers:
    return tuple((dice.choice(_NAMES), dice.choice(_TEXTS)) for _ in range(dice.randrange(1, 4)))


def _values(dice: Random) -> Headers:
    return tuple((f"h{n}", dice.choice(_TEXTS)) for n in range(dice.randrange(1, 8)))


def _random(dice: Random) -> Headers:
    """Any characters, any bytes."""
    return tuple(
        (
            "".join(map(chr, dice.choices(range(0x600), k=dice.randrange(9)))),
            dice.randbytes(dice.randrange(50)),
        )
        for _ in range(dice.randrange(6))
    )


def _large(dice: Random) -> Headers:
    return (("large", b"v" * dice.choice([16_000, 33_000, 65_536])),)


def _many(dice: Random) -> Headers:
    return tuple((f"h{n}", b"v") for n in range(dice.choice([500, 2000])))


def _repeated(dice: Random) -> Headers:
    name = dice.choice(["same", *_NAMES[13:]])
    return tuple((name, b"%d" % dice.randrange(3)) for _ in range(dice.randrange(2, 6)))


def _forged(dice: Random) -> Headers:
    chosen = dice.sample(forged(dice), dice.randrange(1, 6))
    return tuple(chosen)


def _attributes(dice: Random) -> Headers:
    return tuple(
        (dice.choice(_PREFIXES) + dice.choice(_ATTRIBUTES), dice.choice(_TEXTS))
        for _ in range(dice.randrange(1, 6))
    )


_KINDS: Sequence[Callable[[Random], Headers]] = (
    _names, _values, _random, _large, _many, _repeated, _forged, _attributes,
)  # fmt: skip
_WEIGHTS = (30, 15, 15, 1, 1, 10, 15, 13)
