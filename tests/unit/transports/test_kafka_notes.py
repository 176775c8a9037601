from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventwire.transports.kafka.notes import Note, Suspicion, accuses, read_note

_WINDOW = 4

notes = st.builds(
    Note,
    clean=st.booleans(),
    by=st.text(max_size=8),
    until=st.integers(0, 2**63 - 1),
    deaths=st.integers(0, 1000),
)


@given(notes)
def test_a_note_comes_back_as_it_was_written(note: Note) -> None:
    assert read_note(note.text()) == note
    assert len(note.text()) < 4096


@given(st.text() | st.none())
def test_what_others_write_is_no_note(metadata: str | None) -> None:
    assert read_note(metadata) is None


@pytest.mark.parametrize(
    "metadata",
    [
        "{}",
        '{"v":2,"clean":true,"by":"a"}',
        '{"v":1,"clean":1,"by":"a"}',
        '{"v":1,"clean":true,"by":"a","until":3,"deaths":-1}',
    ],
)
def test_what_this_version_does_not_read_is_no_note(metadata: str) -> None:
    assert read_note(metadata) is None


def resumed(note: Note | None, position: int = 10, end: int = 100, me: str = "me") -> Suspicion:
    return Suspicion.resumed(note, me, position, window=_WINDOW, end=end)


def test_without_a_note_or_after_a_clean_end_everything_is_as_usual() -> None:
    assert resumed(None).until is None
    assert resumed(Note(clean=True, by="other")).until is None


def test_what_was_in_flight_at_a_death_is_suspect_and_nobody_is_charged() -> None:
    suspicion = resumed(Note(clean=False, by="other"))
    assert suspicion.until == 14
    assert [suspicion.deaths(offset) for offset in range(10, 14)] == [0, 0, 0, 0]


def test_nothing_is_suspect_beyond_the_logs_end() -> None:
    assert resumed(Note(clean=False, by="other"), end=12).until == 12
    assert resumed(Note(clean=False, by="other"), end=10).until is None, "it had caught up"


def test_a_consumer_that_finds_its_own_note_has_not_died() -> None:
    assert not accuses(Note(clean=False, by="me"), "me")
    assert resumed(Note(clean=False, by="me")).until is None
    mine = resumed(Note(clean=False, by="me", until=14, deaths=2))
    assert (mine.until, mine.deaths(10)) == (14, 2)


def test_a_death_alone_is_charged_to_the_offset_and_to_no_other() -> None:
    suspicion = resumed(Note(clean=False, by="other", until=14, deaths=1))
    assert [suspicion.deaths(offset) for offset in (9, 10, 11)] == [0, 2, 0]
    assert suspicion.until == 14


def test_a_clean_end_in_suspect_mode_keeps_the_deaths() -> None:
    suspicion = resumed(Note(clean=True, by="other", until=14, deaths=2))
    assert suspicion.deaths(10) == 2
    assert read_note(suspicion.note(10, leaving=True)) == Note(clean=True, by="me", until=14, deaths=2)
    assert read_note(suspicion.note(11, leaving=True)) == Note(clean=True, by="me", until=14, deaths=0)
    assert read_note(suspicion.note(14, leaving=True)) == Note(clean=True, by="me")


@dataclass
class World:
    """One partition at a broker, and processes that read it one after the other.

    `poison` kills whoever handles it. In flight is what a process was handed and has not settled.
    """

    length: int
    poison: frozenset[int]
    position: int = 0
    metadata: str = ""
    charged: dict[int, int] = field(default_factory=dict[int, int])
    """Deaths that the last hand-out of an offset told."""
    earned: dict[int, int] = field(default_factory=dict[int, int])
    """Deaths of an offset while it was handed out alone."""
    lives: int = 0
    dropped: set[int] = field(default_factory=set[int])

    def live(self, steps: list[str], attempts: int) -> None:
        """One process, until it dies, ends cleanly, or has no steps left (then it is killed)."""
        self.lives += 1
        suspicion = Suspicion.resumed(
            read_note(self.metadata), str(self.lives), self.position, window=_WINDOW, end=self.length
        )
        self._commit(suspicion)
        flight: list[int] = []
        following = self.position
        for step in steps:
            if step == "stop":
                self.metadata = suspicion.note(self.position, leaving=True)
                return
            if step == "take" and following < self.length and self._room(suspicion, flight):
                following = self._hand_out(suspicion, flight, following)
            if step == "settle" and flight:
                offset = flight[0]
                if offset in self.poison and self.charged.get(offset, 0) < attempts:
                    break  # it kills the process
                if offset in self.poison:
                    self.dropped.add(offset)
                flight.pop(0)
                suspicion.alone = None
                self.position = offset + 1
                if suspicion.ends_at(self.position):
                    suspicion.until = None
                self._commit(suspicion)
        if suspicion.until is not None and flight:
            self.earned[flight[0]] = self.earned.get(flight[0], 0) + 1

    def _room(self, suspicion: Suspicion, flight: list[int]) -> bool:
        return not flight if suspicion.until is not None else len(flight) < _WINDOW

    def _hand_out(self, suspicion: Suspicion, flight: list[int], offset: int) -> int:
        if suspicion.until is not None:
            suspicion.alone = offset
            self._commit(suspicion)
        self.charged[offset] = suspicion.deaths(offset)
        flight.append(offset)
        assert self.charged[offset] == self.earned.get(offset, 0), "exactly what it did alone"
        return offset + 1

    def _commit(self, suspicion: Suspicion) -> None:
        self.metadata = suspicion.note(self.position, leaving=False)


steps = st.lists(st.sampled_from(["take", "take", "settle", "stop"]), max_size=12)


@settings(deadline=None)
@given(st.frozensets(st.integers(0, 11), max_size=3), st.lists(steps, max_size=20))
def test_nobody_is_charged_who_was_not_alone_and_a_killer_is_charged_each_time(
    poison: frozenset[int], lives: list[list[str]]
) -> None:
    world = World(12, poison)
    for life in lives:
        world.live(life, attempts=2)


@settings(deadline=None)
@given(st.frozensets(st.integers(0, 11), max_size=4), st.integers(1, 3))
def test_a_partition_gets_past_its_killers_and_past_nobody_else(
    poison: frozenset[int], attempts: int
) -> None:
    world = World(12, poison)
    for _ in range(24):
        world.live(["take", "take", "settle"] * 30, attempts)
    assert world.position == 12
    assert world.dropped == poison
    assert all(world.earned[offset] == attempts for offset in poison)
    assert world.earned.keys() == poison
