"""The one family of errors that people are meant to read: one line each, whatever stands in the files they speak of.

No message is made here.
"""

from collections.abc import Sequence

_LONGEST = 1000  # characters


def one_line(text: str) -> str:
    """A text for people as one line that a terminal can show.

    Line ends, control characters and marks that turn the reading direction are escaped, since messages quote files;
    what is longer than a thousand characters loses its middle.
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text.strip())
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 300]} … {shown[-297:]}"


def first_line(error: BaseException) -> str:
    """The first line of another library's error, or its kind where it says nothing; at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


class TransferabilityError(Exception):
    """A mistake that the user can mend: one line that names file, line or column, and the way out."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class DataError(TransferabilityError):
    """A label file, table or image that cannot be used as it stands."""


class StudyError(TransferabilityError):
    """A study file with a mistake in it."""


class FieldError(StudyError):
    """A mistake in one field of a study file.

    Attributes:
        field: The keys that lead to it, and the place in a list (from 0), so that its line can be found.
        problem: The message without the field.
    """

    def __init__(self, field: Sequence[str | int], problem: str) -> None:
        # The line says which of a list it is; a number that is the first part is a key that is no word.
        shown = [str(part) for i, part in enumerate(field) if i == 0 or isinstance(part, str)]
        super().__init__(f"{'.'.join(shown) or 'study'}: {problem}")
        self.field, self.problem = tuple(field), problem


class StoreError(TransferabilityError):
    """A stored output that is missing, truncated or does not match its manifest."""


class ComputeError(TransferabilityError):
    """A computation that cannot go on: a loss that is not a number, a device that is missing."""
