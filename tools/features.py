"""The README's table of transports, from what each states of itself in `Features`.

python -m tools.features          writes it
python -m tools.features --check  exits with 1 when it is not current
"""

import sys
from pathlib import Path

from eventwire.links import make_transport
from eventwire.transport import DriverOptions, Features

README = Path(__file__).parent.parent / "README.md"
BEGIN = "<!-- features: written by `python -m tools.features` -->\n"
END = "<!-- features: end -->\n"
URLS = ("memory://", "sqlite:///shop.db", "kafka://localhost", "amqp://localhost", "devnull://")
COLUMNS = {
    "survives a crash": "durable",
    "publish confirmed": "confirms",
    "at least once": "ack",
    "groups": "groups",
    "order per key": "ordering",
    "late groups read the past": "history",
    "several processes": "processes",
}


def table() -> str:
    """The table in Markdown."""
    rows = [
        "| transport | " + " | ".join(COLUMNS) + " |",
        "|---" * (len(COLUMNS) + 1) + "|",
        *(_row(make_transport(url, DriverOptions()).features) for url in URLS),
    ]
    return "".join(f"{row}\n" for row in rows)


def _row(features: Features) -> str:
    if features.vacuous:
        return f"| `{features.transport}://` | " + " | ".join("drops all" for _ in COLUMNS) + " |"
    facts = ("yes" if getattr(features, name) else "no" for name in COLUMNS.values())
    return f"| `{features.transport}://` | " + " | ".join(facts) + " |"


def current(text: str) -> str:
    """The page with the table as it should be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


def main() -> int:
    """Write or check; the exit code."""
    text = README.read_text()
    if "--check" in sys.argv[1:]:
        if text != current(text):
            sys.exit("README.md: the table of transports is not current: run `python -m tools.features`")
        return 0
    README.write_text(current(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
