import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventwire.transports.kafka.notes import Note, Suspicion, accuses, read_note

_WINDOW = 4

notes = st.builds(
    Note,
    clean=st.booleans(),
    by=st.text(max_size=8),
    until=st.integers(0, 2**63 - 1),
    deaths=st.integers(0, 1000),
    strict=st.booleans(),
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
        '{"v":1,"clean":true,"by":"a","until":3,"strict":1}',
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
    mine = resumed(Note(clean=False, by="me", until=14, deaths=2, strict=True))
    assert (mine.until, mine.deaths(10), mine.strict) == (14, 2, True)
    assert not resumed(Note(clean=False, by="me", until=14)).strict


def test_a_second_death_in_suspect_mode_charges_nobody_and_makes_it_strict() -> None:
    suspicion = resumed(Note(clean=False, by="other", until=14))
    assert [suspicion.deaths(offset) for offset in (9, 10, 11)] == [0, 0, 0]
    assert (suspicion.until, suspicion.strict) == (14, True)


def test_a_death_alone_is_charged_to_the_offset_and_to_no_other() -> None:
    suspicion = resumed(Note(clean=False, by="other", until=14, deaths=1, strict=True))
    assert [suspicion.deaths(offset) for offset in (9, 10, 11)] == [0, 2, 0]
    assert (suspicion.until, suspicion.strict) == (14, True)


def test_in_suspect_mode_only_who_is_alone_is_in_hand_as_far_as_the_note_goes() -> None:
    strict = Suspicion("me", 14, 10, 1, strict=True)
    assert read_note(strict.note(10, leaving=False)) == Note(
        clean=True, by="me", until=14, deaths=1, strict=True
    )
    strict.alone = 10
    assert read_note(strict.note(10, leaving=False)) == Note(
        clean=False, by="me", until=14, deaths=1, strict=True
    )
    assert read_note(Suspicion("me", 14).note(10, leaving=False)) == Note(clean=False, by="me", until=14)


def test_a_clean_end_in_suspect_mode_keeps_the_deaths() -> None:
    suspicion = resumed(Note(clean=True, by="other", until=14, deaths=2, strict=True))
    assert (suspicion.deaths(10), suspicion.strict) == (2, True)
    assert read_note(suspicion.note(10, leaving=True)) == Note(
        clean=True, by="me", until=14, deaths=2, strict=True
    )
    assert read_note(suspicion.note(11, leaving=True)) == Note(
        clean=True, by="me", until=14, deaths=0, strict=True
    )
    assert read_note(suspicion.note(14, leaving=True)) == Note(clean=True, by="me")
