"""What ops read of an error."""

import pytest

from notifier.errors import LONGEST_REASON, in_one_line


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("too small"), "ValueError: too small"),
        (ValueError(""), "ValueError"),
        (KeyError("topic"), "KeyError: 'topic'"),
        (ValueError("no such table\n[SQL: SELECT 1]"), "ValueError: no such table"),
        (ValueError("a\0b \udcff\tc"), "ValueError: a b   c"),
    ],
)
def test_an_error_is_said_in_one_line(error: Exception, words: str) -> None:
    assert in_one_line(error) == words


def test_it_is_never_longer_than_the_database_keeps() -> None:
    assert len(in_one_line(ValueError("x" * 1000))) == LONGEST_REASON
