"""What a guarded model raises."""

from gemma_guard import Blocked


class GuardBlocked(Blocked):
    """A guarded model withheld an answer; carries the verdict, names policies and never text."""
