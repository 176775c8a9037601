"""The type of a protobuf extension's handle, for generated stubs: in types-protobuf its name is private."""

from typing import TYPE_CHECKING

__all__ = ["ExtensionFieldDescriptor"]

if TYPE_CHECKING:
    from typing import Any, Generic, TypeVar

    from google.protobuf.internal.containers import (
        RepeatedCompositeFieldContainer,
        RepeatedScalarFieldContainer,
    )
    from google.protobuf.internal.extension_dict import (
        _ExtensionFieldDescriptor,  # pyright: ignore[reportPrivateUsage]  the stubs have no public name
    )
    from google.protobuf.message import Message

    _Containers = RepeatedScalarFieldContainer[Any] | RepeatedCompositeFieldContainer[Any]
    C = TypeVar("C", bound=Message)
    V = TypeVar("V", bound=Message | _Containers | bool | float | str | bytes)

    class ExtensionFieldDescriptor(
        _ExtensionFieldDescriptor[C, V],  # pyright: ignore[reportGeneralTypeIssues]  generic in the stubs only
        Generic[C, V],
    ):
        """The handle of an extension of message `C` with values of type `V`."""

else:
    from google.protobuf.descriptor import FieldDescriptor as ExtensionFieldDescriptor
