"""What generated modules ask of a message library: one module for each, with the same functions.

`binary(cls)` and `json(cls)` give an event's codec; `path`, `timestamp` and `text` give a reader of one field. All is
decided when the generated module is imported: a reader only reads attributes.
"""
