"""The one family of errors that people are meant to read; it holds no logic and no messages of its own."""


class TransferabilityError(Exception):
    """A mistake that the user can mend: one line that names file, line or column, and the way out."""


class DataError(TransferabilityError):
    """A label file, table or image that cannot be used as it stands."""


class StudyError(TransferabilityError):
    """A study file with a mistake in it."""


class StoreError(TransferabilityError):
    """A stored output that is missing, truncated or does not match its manifest."""


class ComputeError(TransferabilityError):
    """A computation that cannot go on: a loss that is not a number, a device that is missing."""
