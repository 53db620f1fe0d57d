"""The errors that the domain raises; each message is written for the person who reads it."""


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
