"""CloudEvents structured mode: the whole event in the body.

Sources: CloudEvents "Protobuf Event Format" 1.0 (field numbers as in its cloudevents.proto) and "JSON Event
Format" 1.0.
The message classes live in a descriptor pool of their own: `io.cloudevents.v1` cannot be a Python package (`io`), and
another library may have loaded the same file.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.message import DecodeError

from eventwire.errors import Undecodable
from eventwire.policy import DataFormat
from eventwire.wire.attributes import REQUIRED, TYPE_URL
from eventwire.wire.content import DATA, is_data, media_type
from eventwire.wire.strict_json import loads

_Field = descriptor_pb2.FieldDescriptorProto
_VALUES = (
    ("ce_boolean", _Field.TYPE_BOOL, ""),
    ("ce_integer", _Field.TYPE_INT32, ""),
    ("ce_string", _Field.TYPE_STRING, ""),
    ("ce_bytes", _Field.TYPE_BYTES, ""),
    ("ce_uri", _Field.TYPE_STRING, ""),
    ("ce_uri_ref", _Field.TYPE_STRING, ""),
    ("ce_timestamp", _Field.TYPE_MESSAGE, ".google.protobuf.Timestamp"),
)


def write(attributes: Mapping[str, str], data: bytes, form: DataFormat, full_name: str) -> bytes:
    """A CloudEvent with this data. `attributes` holds all of them, the required ones too."""
    return (
        _write_json(attributes, data)
        if form is DataFormat.JSON
        else _write_protobuf(attributes, data, full_name)
    )


def read(media: str, body: bytes) -> tuple[dict[str, bytes], bytes, str | None]:
    """Attributes, data and the data's message name where the CloudEvent tells it. Raises Undecodable."""
    if (parse := _READERS.get(media)) is None:
        raise Undecodable(
            f"structured CloudEvents of content type `{media}` are not read; protobuf and JSON are"
        )
    try:
        attributes, data, name = parse(body)
    except (ValueError, TypeError, DecodeError) as error:
        raise Undecodable(f"the body is no CloudEvent of content type `{media}`: {error}") from error
    missing = [name for name in REQUIRED if not attributes.get(name)]
    if missing:
        raise Undecodable(f"the CloudEvent lacks the required attributes {', '.join(missing)}")
    return attributes, data, name


def _write_protobuf(attributes: Mapping[str, str], data: bytes, full_name: str) -> bytes:
    optional = {name: value for name, value in attributes.items() if name not in REQUIRED}
    event = _cloud_event()(
        id=attributes["id"],
        source=attributes["source"],
        spec_version=attributes["specversion"],
        type=attributes["type"],
    )
    event.proto_data.type_url = TYPE_URL + full_name
    event.proto_data.value = data
    for name, value in optional.items():
        if name == "time":
            event.attributes[name].ce_timestamp.FromJsonString(value)
        elif name == "dataschema":
            event.attributes[name].ce_uri = value
        else:
            event.attributes[name].ce_string = value
    return bytes(event.SerializeToString(deterministic=True))


def _read_protobuf(body: bytes) -> tuple[dict[str, bytes], bytes, str | None]:
    event = _cloud_event().FromString(body)
    attributes = {
        "id": event.id.encode(),
        "source": event.source.encode(),
        "specversion": event.spec_version.encode(),
        "type": event.type.encode(),
    }
    for name, value in event.attributes.items():
        attributes[name] = _attribute(value)
    match event.WhichOneof("data"):
        case "proto_data":
            attributes.setdefault("datacontenttype", DATA[DataFormat.PROTOBUF].encode())
            return attributes, event.proto_data.value, event.proto_data.type_url.rpartition("/")[2]
        case "text_data":
            return attributes, event.text_data.encode(), None
        case "binary_data":
            return attributes, event.binary_data, None
        case _:
            raise ValueError("it has no data")


def _attribute(value: Any) -> bytes:
    match value.WhichOneof("attr"):
        case None:
            return b""
        case "ce_bytes":
            return b64encode(value.ce_bytes)
        case "ce_timestamp":
            return str(value.ce_timestamp.ToJsonString()).encode()
        case "ce_boolean":
            return b"true" if value.ce_boolean else b"false"
        case name:
            return str(getattr(value, name)).encode()


def _write_json(attributes: Mapping[str, str], data: bytes) -> bytes:
    head = json.dumps({**attributes, "datacontenttype": "application/json"}, separators=(",", ":"))
    return b'%b,"data":%b}' % (head[:-1].encode(), data)


def _read_json(body: bytes) -> tuple[dict[str, bytes], bytes, str | None]:
    event = loads(body)
    if not isinstance(event, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004  the bytes are wrong, not an argument
    fields = cast("dict[str, Any]", event)
    data = _json_data(fields)
    return {name: _text(value).encode() for name, value in fields.items() if value is not None}, data, None


def _json_data(fields: dict[str, Any]) -> bytes:
    encoded, value = fields.pop("data_base64", None), fields.pop("data", None)
    if encoded is not None:
        return b64decode(encoded, validate=True)
    if value is None:
        raise ValueError("it has no data")
    fields.setdefault("datacontenttype", DATA[DataFormat.JSON])  # "JSON Event Format", section 3.1
    if isinstance(value, str) and not is_data(media_type(fields.get("datacontenttype")), DataFormat.JSON):
        return value.encode()
    return json.dumps(value).encode()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


_READERS = {
    "application/cloudevents+protobuf": _read_protobuf,
    "application/cloudevents": _read_json,
    "application/cloudevents+json": _read_json,
}


@cache
def _cloud_event() -> Any:
    pool = descriptor_pool.DescriptorPool()
    for module in (any_pb2, timestamp_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.Add(_file())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("io.cloudevents.v1.CloudEvent"))


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="cloudevents.proto",
        package="io.cloudevents.v1",
        syntax="proto3",
        dependency=["google/protobuf/any.proto", "google/protobuf/timestamp.proto"],
    )
    event = file.message_type.add(name="CloudEvent")
    event.oneof_decl.add(name="data")
    for number, name in enumerate(("id", "source", "spec_version", "type"), 1):
        _add(event, name, number, _Field.TYPE_STRING)
    _add(
        event, "attributes", 5, _Field.TYPE_MESSAGE, ".io.cloudevents.v1.CloudEvent.AttributesEntry"
    ).label = _Field.LABEL_REPEATED
    _add(event, "binary_data", 6, _Field.TYPE_BYTES).oneof_index = 0
    _add(event, "text_data", 7, _Field.TYPE_STRING).oneof_index = 0
    _add(event, "proto_data", 8, _Field.TYPE_MESSAGE, ".google.protobuf.Any").oneof_index = 0
    value = event.nested_type.add(name="CloudEventAttributeValue")
    value.oneof_decl.add(name="attr")
    for number, (name, kind, type_name) in enumerate(_VALUES, 1):
        _add(value, name, number, kind, type_name).oneof_index = 0
    entry = event.nested_type.add(name="AttributesEntry")
    entry.options.map_entry = True
    _add(entry, "key", 1, _Field.TYPE_STRING)
    _add(entry, "value", 2, _Field.TYPE_MESSAGE, ".io.cloudevents.v1.CloudEvent.CloudEventAttributeValue")
    return file


def _add(
    message: descriptor_pb2.DescriptorProto,
    name: str,
    number: int,
    kind: descriptor_pb2.FieldDescriptorProto.Type.ValueType,
    type_name: str = "",
) -> descriptor_pb2.FieldDescriptorProto:
    return message.field.add(
        name=name, number=number, type=kind, label=_Field.LABEL_OPTIONAL, type_name=type_name or None
    )
