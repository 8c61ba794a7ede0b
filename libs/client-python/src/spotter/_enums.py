"""Enumerations that a newer API may add to."""

from __future__ import annotations

from enum import Enum


class OpenEnum(str, Enum):
    """The names that the document lists. A name that only a newer API knows becomes a member as well."""

    @classmethod
    def _missing_(cls, value: object) -> OpenEnum | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_ = value
        member._value_ = value
        return member

    def __str__(self) -> str:
        return str(self.value)


class TaskState(OpenEnum):
    """Where a task stands."""

    @property
    def is_terminal(self) -> bool:
        """Whether the task will not change any more. A state that only a newer API knows is taken for terminal."""
        return self.value not in ("QUEUED", "STARTED")


class StateOfBatch(OpenEnum):
    """Where a batch stands."""

    @property
    def is_terminal(self) -> bool:
        """Whether the counts of the batch are final. A state that only a newer API knows is taken for terminal."""
        return self.value not in ("RECEIVING", "RUNNING")
