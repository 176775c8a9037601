"""Type stubs for protoc's ``_pb2.py`` modules, clean under ``mypy --strict`` and pyright's strict mode.

What types-protobuf says of ``google.protobuf`` is used as it is. What Python cannot spell, or what a stub
cannot declare without contradicting `google.protobuf.message.Message`, is left out and reached at run time
with ``getattr`` and ``setattr``: fields and enum values named by a keyword, fields named like a method.
"""

from eventwire_gen.pyi.module import render

__all__ = ["render"]
