"""Message classes for these tests, made without a compiler."""

from __future__ import annotations

from typing import Any

from google.protobuf import timestamp_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

SCALARS = {
    "text": FieldDescriptorProto.TYPE_STRING,
    "number": FieldDescriptorProto.TYPE_INT64,
    "share": FieldDescriptorProto.TYPE_DOUBLE,
    "flag": FieldDescriptorProto.TYPE_BOOL,
    "raw": FieldDescriptorProto.TYPE_BYTES,
    "class": FieldDescriptorProto.TYPE_STRING,
    "HasField": FieldDescriptorProto.TYPE_STRING,
}


def _file() -> FileDescriptorProto:
    file = FileDescriptorProto(
        name="sample.proto", package="sample", syntax="proto3", dependency=["google/protobuf/timestamp.proto"]
    )
    message = file.message_type.add(name="Sample")
    for number, (name, kind) in enumerate(SCALARS.items(), 1):
        message.field.add(name=name, number=number, type=kind, label=FieldDescriptorProto.LABEL_OPTIONAL)
    message.oneof_decl.add(name="_maybe")
    _add(
        message,
        name="maybe",
        number=20,
        type=FieldDescriptorProto.TYPE_STRING,
        proto3_optional=True,
        oneof_index=0,
    )
    _add(message, name="inner", number=21, type=FieldDescriptorProto.TYPE_MESSAGE, type_name=".sample.Sample")
    timestamp = ".google.protobuf.Timestamp"
    _add(message, name="at", number=22, type=FieldDescriptorProto.TYPE_MESSAGE, type_name=timestamp)
    _add(message, name="colour", number=23, type=FieldDescriptorProto.TYPE_ENUM, type_name=".sample.Colour")
    colours = file.enum_type.add(name="Colour")
    for number, name in enumerate(("COLOUR_UNSPECIFIED", "COLOUR_RED")):
        colours.value.add(name=name, number=number)
    strict = file.message_type.add(name="Plain")
    _add(strict, name="text", number=1, type=FieldDescriptorProto.TYPE_STRING)
    return file


def _add(message: Any, **values: Any) -> None:
    message.field.add(label=FieldDescriptorProto.LABEL_OPTIONAL, **values)


_POOL = DescriptorPool()
_POOL.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
_POOL.AddSerializedFile(_file().SerializeToString())

Sample: Any = GetMessageClass(_POOL.FindMessageTypeByName("sample.Sample"))
