"""How ``eventwire dlq`` shows letters. What strangers wrote is made printable: a terminal obeys control characters."""

import json
from collections.abc import Iterator
from typing import Any

from eventwire.cli.dlq_places import Place
from eventwire.dead_letters import Letter
from eventwire.dead_letters.content import MASK, Content, content_of, masked_key

_REASON = 100
_HEX = 2048
"""Bytes of a body that are shown in hex."""


def line(letter: Letter, place: Place, *, as_json: bool) -> str:
    """A letter in one line."""
    if as_json:
        return json.dumps(facts(letter, place))
    reason = printable(letter.reason)
    shown = f"{reason[:_REASON]}..." if len(reason) > _REASON else reason
    when = letter.time.strftime("%Y-%m-%dT%H:%M:%SZ") if letter.time else "-"
    where = f" -> {printable(letter.origin)}" if letter.pointer else ""
    return (
        f"{when}  {printable(letter.id) or '-'}  {printable(letter.type or '-')}  {_key(letter, place)}  "
        f"{printable(letter.error) or '-'} x{letter.attempts or '?'}: {shown}{where}"
    )


def facts(letter: Letter, place: Place) -> dict[str, Any]:
    """What `list --json` tells of a letter."""
    return {
        "id": letter.id,
        "type": letter.type,
        "key": _key(letter, place),
        "time": letter.time.isoformat() if letter.time else None,
        "topic": place.letters.topic,
        "group": place.letters.group,
        "error": letter.error,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "origin": letter.origin,
        "pointer": letter.pointer,
        "size": None if letter.message.body is None else len(letter.message.body),
    }


def everything(letter: Letter, place: Place, *, as_json: bool, raw: bool) -> str:
    """All of a letter."""
    content = content_of(letter, place.topic, place.features) if place.topic else Content(letter.type)
    if as_json:
        headers = [[name, value.decode(errors="backslashreplace")] for name, value in letter.message.headers]
        body = (
            {"event": content.event}
            if content.event is not None and not raw
            else _hex(letter, content, raw=raw)
        )
        return json.dumps({**facts(letter, place), "type": content.type, "headers": headers, **body})
    return "\n".join(_lines(letter, place, content, raw=raw))


def printable(text: str) -> str:
    """The text with everything escaped that is more than a visible character."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _lines(letter: Letter, place: Place, content: Content, *, raw: bool) -> Iterator[str]:
    yield f"id        {printable(letter.id) or '-'}"
    yield f"type      {printable(content.type or '-')}"
    yield f"key       {_key(letter, place)}"
    yield f"set aside {letter.said('time') or '-'} by group {printable(letter.said('group')) or '-'}"
    yield f"origin    {printable(letter.origin) or '-'}"
    yield f"attempts  {letter.attempts or '-'}"
    yield f"error     {printable(letter.error) or '-'}: {printable(letter.reason)}"
    yield "headers"
    for name, value in letter.message.headers:
        if not name.startswith("eventwire_dead_"):
            yield f"  {printable(name)}: {printable(value.decode(errors='backslashreplace'))}"
    yield f"content   {printable(letter.message.content_type or '-')}, {len(letter.message.body or b''):,} bytes"
    if content.why:
        yield f"          {printable(content.why)}"
    if content.event is not None and not raw:
        yield json.dumps(content.event, indent=2)
    elif text := _hex(letter, content, raw=raw).get("hex"):
        yield text


def _hex(letter: Letter, content: Content, *, raw: bool) -> dict[str, str]:
    body = letter.message.body or b""
    if content.secret and not raw:
        return {"hidden": "the topic has redacted fields: --raw shows the bytes"}
    shown = body[:_HEX].hex()
    return {"hex": shown if len(body) <= _HEX else f"{shown}..."}


def _key(letter: Letter, place: Place) -> str:
    key = letter.message.key
    if key is None:
        return "-"
    if place.topic is not None and masked_key(place.topic):
        return MASK
    try:
        return printable(key.decode())
    except UnicodeDecodeError:
        return f"0x{key.hex()}"
