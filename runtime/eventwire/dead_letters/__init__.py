"""A group's dead letters: look at them, replay them, purge them."""

from eventwire.dead_letters.letter import Letter
from eventwire.dead_letters.letters import DeadLetters
from eventwire.dead_letters.progress import Progress, Refusal
from eventwire.dead_letters.selection import Selection

__all__ = ["DeadLetters", "Letter", "Progress", "Refusal", "Selection"]
