"""The flags of ``eventwire dlq``."""

import argparse
from datetime import UTC, datetime

from eventwire.dead_letters import Selection

_ABOUT = """Dead letters are what a group could not handle and set aside. Name the group by a Worker (MODULE:ATTR, as
`eventwire run` takes it), or by --broker, --topic and --group."""


def parser() -> argparse.ArgumentParser:
    """The parser; `flags.command` is one of list, show, replay, purge."""
    made = argparse.ArgumentParser(prog="eventwire dlq", description=_ABOUT)
    commands = made.add_subparsers(dest="command", required=True, metavar="list|show|replay|purge")
    listing = commands.add_parser("list", help="a line for each dead letter", description=_ABOUT)
    showing = commands.add_parser("show", help="all of one dead letter", description=_ABOUT)
    showing.add_argument("id", metavar="ID", help="the event's id")
    showing.add_argument("--raw", action="store_true", help="the body in hex, redacted fields or not")
    replaying = commands.add_parser(
        "replay", help="publish dead letters again, to this group alone", description=_ABOUT
    )
    replaying.add_argument(
        "--to-source", action="store_true", help="to the topic itself instead: every group gets them again"
    )
    replaying.add_argument("--rate", type=_rate, metavar="N", help="at most so many a second")
    purging = commands.add_parser("purge", help="forget dead letters", description=_ABOUT)
    purging.add_argument("--all", action="store_true", help="all of them: needed where no filter is given")
    purging.add_argument("--yes", action="store_true", help="do not ask")
    for each in (listing, showing, replaying, purging):
        _place(each)
    for each in (listing, replaying, purging):
        _filters(each)
    for each in (replaying, purging):
        each.add_argument("--dry-run", action="store_true", help="list what would be taken, and take nothing")
    return made


def selection(flags: argparse.Namespace) -> Selection:
    """Which letters the flags mean."""
    if flags.command == "show":
        return Selection(ids=(flags.id,), limit=1)
    return Selection(
        ids=flags.id or (),
        types=flags.type or (),
        keys=[key.encode() for key in flags.key or ()],
        errors=flags.error or (),
        since=flags.since,
        until=flags.until,
        limit=flags.limit,
    )


def _place(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "worker", metavar="MODULE:ATTR", nargs="?", help="a Worker, or a function that returns one"
    )
    to.add_argument("--broker", metavar="URL", help="the broker, where there is no code at hand")
    to.add_argument("--topic", metavar="NAME", help="the topic; with a worker: only this one of its topics")
    to.add_argument("--group", metavar="NAME", help="the consumer group")
    to.add_argument(
        "--dead-letter", metavar="NAME", help="the dead letter topic, if not `{topic}.{group}.dead`"
    )
    to.add_argument(
        "--partitions",
        type=_count,
        metavar="N",
        help="of the topic, if it is keyed: for --to-source without code",
    )
    to.add_argument("--json", action="store_true", help="JSON, a line for each")


def _filters(to: argparse.ArgumentParser) -> None:
    to.add_argument("--id", action="append", metavar="ID", help="this event; may be repeated, as all filters")
    to.add_argument("--type", action="append", metavar="NAME", help="this CloudEvents type")
    to.add_argument("--key", action="append", metavar="TEXT", help="this key")
    to.add_argument("--error", action="append", metavar="CLASS", help="failed with this error")
    to.add_argument(
        "--since",
        type=_time,
        metavar="TIME",
        help="set aside at or after (RFC 3339; UTC if it names no zone)",
    )
    to.add_argument("--until", type=_time, metavar="TIME", help="set aside before")
    to.add_argument("--limit", type=_count, metavar="N", help="at most so many, the oldest first")


def _time(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 2026-01-31T18:00:00Z") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return rate
