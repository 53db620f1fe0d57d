"""Faults that are asked for."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import requests
from rehearsal_publication import Publication

from notifier.rehearsal.client import PushServiceControl
from notifier.rehearsal.faults import FaultRule, Faults, parse_retry_after
from notifier.rehearsal.push_service import PushService

READERS = 200


@pytest.fixture
def readers(control: PushServiceControl, publication: Publication) -> list[dict[str, Any]]:
    return list(control.add_readers(READERS, vapid_public_key=publication.public_key, seed=7))


def answers(publication: Publication, readers: list[dict[str, Any]]) -> dict[str, int]:
    return {r["endpoint"]: publication.post(r).status_code for r in readers}


def test_each_rule_strikes_the_endpoints_that_it_lists_and_no_other(
    control: PushServiceControl, publication: Publication, readers: list[dict[str, Any]]
) -> None:
    control.set_faults([{"status": 503, "share": 0.2}, {"status": 429, "share": 0.1}])
    rules = control.faults()
    given = answers(publication, readers)
    for rule in rules:
        struck = {endpoint for endpoint, status in given.items() if status == rule["status"]}
        assert struck == set(rule["endpoints"])
        assert len(struck) == rule["count"]
        assert 0.5 < rule["count"] / (rule["share"] * READERS) < 1.5
    assert set(given.values()) == {201, 429, 503}


def test_the_same_endpoints_are_struck_every_time(
    control: PushServiceControl, readers: list[dict[str, Any]]
) -> None:
    def struck(share: float) -> set[str]:
        control.set_faults([{"status": 503, "share": share}])
        return set(control.faults()[0]["endpoints"])

    assert struck(0.1) == struck(0.1)
    assert struck(0.1) < struck(0.3)


@pytest.mark.parametrize(("status", "errno"), [(404, 102), (410, 106)])
def test_gone_is_for_good(
    control: PushServiceControl,
    publication: Publication,
    reader: dict[str, Any],
    status: int,
    errno,
) -> None:
    control.set_faults([{"status": status}])
    assert publication.post(reader).json()["errno"] == errno
    control.set_faults([])
    assert publication.post(reader).status_code == status
    assert control.report()["gone"] == 1


def test_a_rule_can_end_after_some_requests_to_each_endpoint(
    control: PushServiceControl, publication: Publication, readers: list[dict[str, Any]]
) -> None:
    control.set_faults([{"status": 503, "times": 2}])
    for reader in readers[:2]:
        assert [publication.post(reader).status_code for _ in range(3)] == [503, 503, 201]


def test_a_rule_can_end_after_some_time() -> None:
    faults = Faults()
    faults.replace([FaultRule(status=503, holds_for=timedelta(seconds=30))], now=100.0)
    assert faults.strike(0, 0.5, now=129.9)
    assert faults.strike(0, 0.5, now=130.0) is None


def test_retry_after_is_passed_on_and_impatience_is_counted(
    control: PushServiceControl, publication: Publication, readers: list[dict[str, Any]]
) -> None:
    patient, impatient = readers[:2]
    control.set_faults([{"status": 429, "retry_after": "3600", "times": 1}])
    response = publication.post(impatient)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "3600")
    control.set_faults([{"status": 429, "retry_after": "0", "times": 1}])
    assert publication.post(patient).status_code == 429
    control.set_faults([])
    assert control.report()["early"] == 0
    assert publication.post(patient).status_code == 201
    assert control.report()["early"] == 0
    assert publication.post(impatient).status_code == 201
    assert control.report()["early"] == 1


def test_retry_after_may_be_a_date() -> None:
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert timedelta(minutes=59) < parse_retry_after(in_an_hour) <= timedelta(hours=1)
    assert parse_retry_after("Thu, 01 Jan 1970 00:00:00 GMT") == timedelta(0)


def test_a_delay_comes_before_the_answer(
    control: PushServiceControl, publication: Publication, reader: dict[str, Any]
) -> None:
    control.set_faults([{"delay": 0.3}])
    response = publication.post(reader)
    assert response.status_code == 201
    assert response.elapsed >= timedelta(seconds=0.3)


def test_a_redirect_leads_somewhere(
    control: PushServiceControl, publication: Publication, reader: dict[str, Any]
) -> None:
    control.set_faults([{"status": 307}])
    response = publication.post(reader)
    assert (response.status_code, response.headers["Location"]) == (307, reader["endpoint"])


def test_a_request_that_is_wrong_is_told_so_before_any_fault_strikes(
    control: PushServiceControl, publication: Publication, reader: dict[str, Any]
) -> None:
    control.set_faults([{"status": 503}])
    assert publication.post(reader, Authorization=None).status_code == 401


@pytest.mark.parametrize(
    "rules",
    [
        [{}],
        [{"status": 201}],
        [{"status": 503, "share": 0}],
        [{"status": 503, "share": 0.6}, {"status": 429, "share": 0.5}],
        [{"status": 503, "retry_after": "a while"}],
        [{"status": 503, "times": 0}],
        [{"status": 503, "harm": "dropped"}],
        [{"status": 503, "colour": "red"}],
        {"status": 503},
    ],
)
def test_rules_that_make_no_sense_are_refused(service: PushService, rules: Any) -> None:
    answer = requests.post(f"{service.origin}/control/faults", json=rules, timeout=30)
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize("harm", ["dropped", "slow"])
def test_a_message_can_be_accepted_without_its_sender_knowing(
    control: PushServiceControl, publication: Publication, reader: dict[str, Any], harm: str
) -> None:
    control.set_faults([{"harm": harm, "times": 1}])
    with pytest.raises(requests.ConnectionError if harm == "dropped" else requests.Timeout):
        publication.post(reader, timeout=0.5)
    assert publication.post(reader).status_code == 201
    report = control.report()
    assert (report["withheld"], report["accepted"], report["duplicates"]) == (1, 2, 1)


def test_an_answer_can_have_no_end(
    control: PushServiceControl, publication: Publication, reader: dict[str, Any]
) -> None:
    control.set_faults([{"harm": "endless"}])
    with publication.post(reader, stream=True) as answer:
        assert answer.status_code == 201
        assert len(answer.raw.read(1 << 20)) == 1 << 20


def test_an_answer_can_unpack_to_very_much_more(
    control: PushServiceControl, publication: Publication, reader: dict[str, Any]
) -> None:
    control.set_faults([{"harm": "compressed"}])
    answer = publication.post(reader)
    assert answer.status_code == 201
    assert int(answer.headers["Content-Length"]) * 100 < len(answer.content)
