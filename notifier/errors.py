"""The errors that the domain raises; each message is written for the person who reads it."""

LONGEST_REASON = 200  # characters, as many as the database keeps


class NotifierError(Exception):
    """Something that the caller did or asked for cannot be done; the text says why."""


class InvalidInput(NotifierError):
    """A value from outside is not acceptable.

    `field` names the offending value in the vocabulary of the API, when there is one.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotFound(NotifierError):
    """The thing asked for does not exist, or the caller has not proved that it is theirs."""


class Conflict(NotifierError):
    """The request contradicts what is already recorded."""


class NotReady(NotifierError):
    """The service lacks something that it needs to run, such as a key or a migrated database."""


def in_one_line(error: Exception) -> str:
    """What went wrong, in words for ops: at most LONGEST_REASON characters, all of them printable.

    Of a text of several lines the first says it.
    """
    first_line = str(error).partition("\n")[0][:LONGEST_REASON]
    # A database takes no character that it could not store, such as NUL.
    words = "".join(char if char.isprintable() else " " for char in first_line)
    return f"{type(error).__name__}: {words}".rstrip(": ")[:LONGEST_REASON]
