"""Content types: what the data is, and whether the whole body is a CloudEvent."""

from __future__ import annotations

from eventwire.policy import DataFormat

DATA = {DataFormat.PROTOBUF: "application/protobuf", DataFormat.JSON: "application/json"}
STRUCTURED = {
    DataFormat.PROTOBUF: "application/cloudevents+protobuf",
    DataFormat.JSON: "application/cloudevents+json",
}
_ALIASES = {
    DataFormat.PROTOBUF: {
        "application/protobuf",
        "application/x-protobuf",
        "application/vnd.google.protobuf",
    },
    DataFormat.JSON: {"application/json", "text/json"},
}


def media_type(content_type: str | None) -> str:
    """The content type in lower case without its parameters; empty for none."""
    return content_type.partition(";")[0].strip().lower() if content_type else ""


def is_data(media: str, form: DataFormat) -> bool:
    """Whether data of that media type is what `form` reads; none at all is taken to be."""
    return not media or media in _ALIASES[form] or (form is DataFormat.JSON and media.endswith("+json"))
