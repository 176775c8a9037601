"""The fault suite's driver.

python -m tools.chaos bars [PYTEST ARGUMENTS]   the long form; without arguments it writes docs/reliability.md
python -m tools.chaos page                      writes the page anew, from what whole and partial runs have left
python -m tools.chaos mutants [NAME ...]        each mutant's bar, in short form: red with it and green without
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.mutants import Mutant, known
from tests.chaos.report import Figures
from tests.chaos.switches import CHAOS, MUTANT, RESULTS, SEED, seed
from tools import servers

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/reliability.md"
LEFT = ROOT / "build/chaos/figures.jsonl"
BEGIN = "<!-- figures: written by `make chaos` -->\n"
END = "<!-- figures: end -->\n"
_PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider")
_WITHIN = 240


def bars(arguments: Sequence[str]) -> int:
    """Run the long form; pytest's exit code. A whole run begins from nothing, a partial one adds to what there is."""
    LEFT.parent.mkdir(parents=True, exist_ok=True)
    if not arguments:
        LEFT.unlink(missing_ok=True)
    env = os.environ | {CHAOS: "full", RESULTS: str(LEFT), SEED: str(seed())}
    code = subprocess.run([*_PYTEST, *(arguments or ["tests/chaos"])], env=env, check=False).returncode
    print("\n" + "\n".join(table(read(LEFT))))
    if not arguments:
        page([])
    return code


def page(_: Sequence[str]) -> int:
    """Write the figures into docs/reliability.md; 1 when there are none."""
    if not (figures := read(LEFT)):
        print(f"chaos: no figures in {LEFT.relative_to(ROOT)}: run `make chaos`")
        return 1
    PAGE.write_text(filled(PAGE.read_text(), "".join(f"{line}\n" for line in table(figures))))
    return 0


def read(results: Path) -> list[Figures]:
    """The last row of each test that has written one."""
    lines = results.read_text().splitlines() if results.exists() else []
    rows = {row.test: row for row in (Figures(**json.loads(line)) for line in lines)}
    return sorted(rows.values(), key=lambda row: (row.bar, row.test.partition("[")[0]))


def table(figures: Iterable[Figures]) -> Iterator[str]:
    """The page's table: a row for each bar and broker."""
    mutants: dict[str, list[str]] = {}
    for each in known().values():
        mutants.setdefault(_function(each.bar), []).append(f"`{each.name}`")
    yield "| bar | fault | broker | events | faults that happened | lost | duplicates / bound | s | more | mutants |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    rows = list(figures)
    for row in rows:
        yield _row(row, mutants.get(_function(row.test), ()))
    green, minutes = sum(row.passed for row in rows), sum(row.seconds for row in rows) / 60
    seeds = ", ".join(sorted({str(row.seed) for row in rows}))
    yield ""
    yield f"{green} of {len(rows)} rows green; seeds {seeds}; {minutes:.0f} minutes on {os.cpu_count()} cores."


def _function(nodeid: str) -> str:
    return nodeid.partition("[")[0].rpartition("::")[2]


def _row(row: Figures, mutants: Iterable[str]) -> str:
    bound = "" if row.bound is None else f" / {row.bound:,}"
    cells = (
        str(row.bar) if row.passed else f"{row.bar} **RED**",
        row.fault,
        row.broker,
        f"{row.events:,}",
        row.faults,
        str(row.lost),
        f"{row.duplicates:,}{bound}",
        f"{row.seconds:.0f}",
        "; ".join(row.notes),
        ", ".join(mutants),
    )
    return f"| {' | '.join(cells)} |"


def filled(page: str, text: str) -> str:
    """The page with the table between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{text}{END}{after}"


@dataclass(frozen=True)
class Trial:
    """How a bar ended: pytest's exit code, what it said, how long it took."""

    code: int
    output: str
    seconds: float

    @property
    def said(self) -> str:
        """The assertion, or whatever made it red."""
        found: list[str] = re.findall(r"^E   +(\S.*)$", self.output, re.MULTILINE)
        telling: list[str] = [line for line in found if ":" in line or "assert" in line]
        return (telling or found or [""])[0]


def try_bar(bar: str, env: Mapping[str, str]) -> Trial:
    """Run one bar in its short form."""
    began = time.monotonic()
    command = [*_PYTEST, "-q", "--timeout", str(_WITHIN), "--color=no", bar]
    done = subprocess.run(command, env=dict(env), capture_output=True, text=True, check=False)
    return Trial(done.returncode, done.stdout + done.stderr, time.monotonic() - began)


def mutants(names: Sequence[str]) -> int:
    """1 when a mutant survives, or its bar is red without it."""
    if strange := [name for name in names if name not in known()]:
        print(f"chaos-mutants: no such mutant: {', '.join(strange)}; there are {', '.join(known())}")
        return 2
    chosen = [known()[name] for name in names] or list(known().values())
    env = {name: value for name, value in os.environ.items() if name not in {CHAOS, MUTANT, RESULTS}}
    with ExitStack() as stack:
        env |= _servers(stack, {each.bar for each in chosen})
        bars = sorted({each.bar for each in chosen})
        healthy = {bar: _told(f"green  {bar}", try_bar(bar, env)) for bar in bars}
        sick = {
            each.name: _told(f"mutant {each.name}", try_bar(each.bar, env | {MUTANT: each.name}))
            for each in chosen
        }
    failed = [each for each in chosen if not caught(each, sick[each.name], healthy[each.bar])]
    print("\n" + "\n".join(verdicts(chosen, sick, healthy)))
    print(f"\nchaos-mutants: {len(chosen) - len(failed)} of {len(chosen)} caught")
    return int(bool(failed))


def caught(mutant: Mutant, sick: Trial, healthy: Trial) -> bool:
    """Whether the bar is green without the mutant, and red with it for the right reason."""
    return healthy.code == 0 and sick.code == 1 and bool(re.search(mutant.sees, sick.output))


def verdicts(
    chosen: Sequence[Mutant], sick: Mapping[str, Trial], healthy: Mapping[str, Trial]
) -> Iterator[str]:
    """A row for each mutant: what the bar said."""
    for each in chosen:
        trial = sick[each.name]
        ok = caught(each, trial, healthy[each.bar])
        why = trial.said[:160] if trial.code else "the bar passed"
        if healthy[each.bar].code:
            why = f"the bar is not green without it: {healthy[each.bar].said[:160]}"
        yield f"{'CAUGHT' if ok else 'MISSED':<7} {each.name:<32} {each.bar.rpartition('/')[2]}: {why}"


def _told(what: str, trial: Trial) -> Trial:
    print(f"{what}: exit {trial.code}, {trial.seconds:.0f} s", flush=True)
    return trial


def _servers(stack: ExitStack, bars: Iterable[str]) -> dict[str, str]:
    """One server of each kind for all runs, where a bar of it is among them."""
    text = " ".join(bars)
    env: dict[str, str] = {}
    for name, variable, start in (
        ("[kafka", servers.KAFKA_URL, servers.kafka),
        ("[amqp", servers.AMQP_URL, servers.rabbitmq),
    ):
        if name in text and variable not in os.environ:
            env[variable] = stack.enter_context(start()).url
    return env


if __name__ == "__main__":
    sys.exit({"bars": bars, "page": page, "mutants": mutants}[sys.argv[1]](sys.argv[2:]))
