from __future__ import annotations

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from eventwire_gen.faults import Faults, Place


def file() -> FileDescriptorProto:
    proto = FileDescriptorProto(name="a.proto")
    proto.source_code_info.location.add(path=[], span=[0, 0, 9])
    proto.source_code_info.location.add(path=[4, 0], span=[2, 0, 8, 1])
    proto.source_code_info.location.add(path=[4, 0, 7, 52301], span=[3, 2, 40])
    return proto


def test_the_innermost_known_place_is_told() -> None:
    faults = Faults()
    faults.add(Place(file(), (4, 0, 7, 52301, 7, 2)), "in the option")
    faults.add(Place(file(), (4, 0, 2, 5)), "in the message")
    faults.add(Place(file(), (5, 1)), "somewhere")
    assert str(faults).splitlines() == [
        "3 faults",
        "a.proto:1:1: somewhere",
        "a.proto:3:1: in the message",
        "a.proto:4:3: in the option",
    ]


def test_a_file_without_positions_is_told_by_its_first_line() -> None:
    faults = Faults()
    faults.add(Place(FileDescriptorProto(name="b.proto"), (4, 0)), "text")
    assert str(faults) == "1 fault\nb.proto:1:1: text"


def test_no_fault_is_false_and_the_same_one_counts_once() -> None:
    faults = Faults()
    assert not faults
    place = Place(file(), (4, 0))
    faults.add(place, "text")
    faults.add(place, "text")
    assert faults
    assert str(faults).startswith("1 fault\n")
