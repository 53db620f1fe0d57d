"""What the doctor says about one thing."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """`UNSEEN` is what cannot be judged from here; `MISSING` and `TROUBLE` fail an examination."""

    THERE = "there"
    MISSING = "missing"
    TROUBLE = "trouble"
    UNSEEN = "look yourself"


@dataclass(frozen=True)
class Finding:
    """`todo` says in plain words what to do, when there is something to do."""

    subject: str
    state: State
    text: str
    todo: str = ""


def there(subject: str, text: str) -> Finding:
    return Finding(subject, State.THERE, text)


def missing(subject: str, text: str, todo: str) -> Finding:
    return Finding(subject, State.MISSING, text, todo)


def trouble(subject: str, text: str, todo: str) -> Finding:
    return Finding(subject, State.TROUBLE, text, todo)


def unseen(subject: str, text: str, todo: str = "") -> Finding:
    return Finding(subject, State.UNSEEN, text, todo)
