"""The one family of errors that people are meant to read: one line each, whatever stands in the files they speak of.

No message is made here.
"""

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


class StoreError(TransferabilityError):
    """A stored output that is missing, truncated or does not match its manifest."""


class ComputeError(TransferabilityError):
    """A computation that cannot go on: a loss that is not a number, a device that is missing."""
