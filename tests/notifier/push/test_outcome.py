"""The whole table of what answers mean."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.push.outcome import (
    LONGEST_RETRY_AFTER,
    Accepted,
    Answer,
    Gone,
    Outcome,
    Rejected,
    Throttled,
    Unreachable,
    outcome_of,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SERVICES = ["fcm", "mozilla", "apple", "wns", "http://localhost:9999"]


@pytest.mark.parametrize("push_service", SERVICES)
@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Accepted()),
        (201, Accepted()),
        (202, Accepted()),
        (204, Accepted()),
        (207, Accepted()),
        (301, Rejected(301)),
        (302, Rejected(302)),
        (307, Rejected(307)),
        (308, Rejected(308)),
        (400, Rejected(400)),
        (401, Rejected(401)),
        (403, Rejected(403)),
        (404, Gone()),
        (405, Rejected(405)),
        (408, Unreachable(None)),
        (410, Gone()),
        (413, Rejected(413, too_large=True)),
        (418, Rejected(418)),
        (421, Unreachable(None)),
        (425, Unreachable(None)),
        (429, Throttled(None)),
        (500, Unreachable(None)),
        (502, Unreachable(None)),
        (503, Unreachable(None)),
        (504, Unreachable(None)),
        (599, Unreachable(None)),
    ],
)
def test_a_status_has_one_meaning(push_service: str, status: int, outcome: Outcome) -> None:
    assert outcome_of(Answer(status), push_service, NOW) == outcome


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(200, wns_status="received"), Accepted()),
        (Answer(200, wns_status="dropped"), Accepted(dropped=True)),
        (Answer(201, wns_status=" Dropped "), Accepted(dropped=True)),
        (Answer(200, wns_status="channelThrottled"), Throttled(None)),
        (Answer(406), Throttled(None)),
        (Answer(406, retry_after="7"), Throttled(timedelta(seconds=7))),
        (Answer(410, wns_status="dropped"), Gone()),
    ],
)
def test_wns_has_words_of_its_own(answer: Answer, outcome: Outcome) -> None:
    assert outcome_of(answer, "wns", NOW) == outcome


@pytest.mark.parametrize("push_service", [name for name in SERVICES if name != "wns"])
def test_which_mean_nothing_elsewhere(push_service: str) -> None:
    assert outcome_of(Answer(406), push_service, NOW) == Rejected(406)
    assert outcome_of(Answer(201, wns_status="dropped"), push_service, NOW) == Accepted()


@pytest.mark.parametrize("status", [None, 0, 100, 103, 600, 999])
@pytest.mark.parametrize("written", [True, False])
def test_no_answer_is_ambiguous_when_the_request_was_written(
    status: int | None, written: bool
) -> None:
    answer = Answer(status, request_written=written, error="OPERATION_TIMEDOUT")
    assert outcome_of(answer, "fcm", NOW) == Unreachable(None, ambiguous=written)


def test_a_status_counts_even_when_the_rest_of_the_answer_was_lost() -> None:
    assert outcome_of(Answer(201, error="PARTIAL_FILE"), "fcm", NOW) == Accepted()
    assert outcome_of(Answer(410, error="WRITE_ERROR"), "fcm", NOW) == Gone()


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("120", timedelta(seconds=120)),
        (" 120 ", timedelta(seconds=120)),
        ("1.2", timedelta(seconds=2)),
        ("Sun, 01 Mar 2026 12:05:00 GMT", timedelta(minutes=5)),
        ("Sunday, 01-Mar-26 12:05:00 GMT", timedelta(minutes=5)),
        ("Sun Mar  1 12:05:00 2026", timedelta(minutes=5)),
        ("Sun, 01 Mar 2026 12:05:00 -0000", timedelta(minutes=5)),
        ("Sun, 01 Mar 2026 14:05:00 +0200", timedelta(minutes=5)),
        ("0", timedelta(seconds=1)),
        ("Sun, 01 Mar 2026 11:00:00 GMT", timedelta(seconds=1)),
        ("Thu, 01 Jan 1970 00:00:00 GMT", timedelta(seconds=1)),
        ("31536000", timedelta(days=7)),
        ("9" * 18, timedelta(days=7)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", timedelta(days=7)),
        (None, None),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("1e3", None),
        ("\u0661\u0662", None),
        ("9" * 4301, None),
        ("Sun, 99 Mar 2026 12:05:00 GMT", None),
        ("Sun, 01 Mar 99999999999 12:05:00 GMT", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(status: int, text: str | None, wait: timedelta | None) -> None:
    expected = Throttled(wait) if status == 429 else Unreachable(wait)
    assert outcome_of(Answer(status, retry_after=text), "mozilla", NOW) == expected


@given(
    status=st.none() | st.integers(-1, 1000),
    retry_after=st.none() | st.text() | st.datetimes().map(str) | st.integers().map(str),
    wns_status=st.none() | st.text(),
    push_service=st.sampled_from(SERVICES),
)
def test_whatever_is_answered_means_something(
    status: int | None, retry_after: str | None, wns_status: str | None, push_service: str
) -> None:
    outcome = outcome_of(Answer(status, retry_after, wns_status), push_service, NOW)
    if isinstance(outcome, Throttled | Unreachable) and outcome.retry_after is not None:
        assert timedelta(seconds=1) <= outcome.retry_after <= LONGEST_RETRY_AFTER
