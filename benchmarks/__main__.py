"""`make bench [ARGS="kafka amqp memory --events N --rounds N"]`: ratios to the raw client, in the same run."""

from __future__ import annotations

import argparse
import sys

from benchmarks import amqp, kafka, memory
from tools import servers

BENCHMARKS = {"memory": memory.run, "kafka": kafka.run, "amqp": amqp.run}


def main() -> int:
    """Measure and print; 1 when a server could not be had."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(BENCHMARKS), help=", ".join(BENCHMARKS))
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    missing = 0
    for name in options.names:
        try:
            comparisons = BENCHMARKS[name](options.events, options.rounds)
        except servers.Unavailable as error:
            print(f"{name}: NOT RUN: {error}")
            missing = 1
            continue
        for what, rows in comparisons.items():
            for row in rows:
                print(
                    f"{name:<7} {what:<13} {row.name:<14} {row.micros:>8.2f} µs/event   x{row.ratio:.2f}",
                    flush=True,
                )
    return missing


if __name__ == "__main__":
    sys.exit(main())
