"""Validation: the application's own check of an event before it is handled."""

from __future__ import annotations

from eventwire.context import Context
from eventwire.errors import ValidationFailed
from eventwire.middleware.base import HandleNext, Middleware
from eventwire.route import Validator


class Validation(Middleware):
    """Raises ValidationFailed when the validator raises; it is never tried again."""

    def __init__(self, validate: Validator) -> None:
        self._validate = validate

    async def on_handle(self, context: Context, call_next: HandleNext) -> None:
        """Validate, then go on."""
        if context.event is not None:
            try:
                self._validate(context.event)
            except Exception as error:
                raise ValidationFailed(f"the validator refuses the event: {error}") from error
        await call_next(context)
