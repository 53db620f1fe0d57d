"""The report: what was accepted, twice, too early, or never."""

import json
from typing import Any

import pytest
import requests
from rehearsal_publication import Publication

from notifier.rehearsal.client import PushServiceControl
from notifier.rehearsal.push_service import PushService
from notifier.rehearsal.wave import Wave


@pytest.fixture
def readers(control: PushServiceControl, publication: Publication) -> list[dict[str, Any]]:
    return list(control.add_readers(10, vapid_public_key=publication.public_key))


def test_it_tells_duplicates_from_lost_and_gone(
    control: PushServiceControl, publication: Publication, readers: list[dict[str, Any]]
) -> None:
    wave = control.begin_wave()
    for reader in readers[:6]:
        publication.push(reader, Topic="election")
    publication.push(readers[0], Topic="storm")
    publication.push(readers[0])
    publication.push(readers[1])
    control.set_faults([{"status": 410}])
    for reader in readers[5:8]:
        assert publication.post(reader).status_code == 410
    report = control.report()
    assert report["wave"] == wave
    assert report["readers"] == 10
    assert report["requests"] == 12
    assert report["accepted"] == 9
    assert report["accepted_readers"] == 6
    assert report["duplicates"] == 3
    # The sixth reader had accepted before it was gone, so it is not missing.
    assert report["gone"] == 3
    assert report["missing"] == 4
    assert report["lost"] == 2
    assert report["by_status"] == {"201": 9, "410": 3}
    assert report["by_errno"] == {"106": 3}
    assert report["topics"] == ["election", "storm"]
    assert report["sample"] == {"decrypted": 9, "failed": 0}
    assert (report["reused_keys"], report["reused_salts"]) == (0, 0)


def test_a_new_wave_begins_at_nothing(
    control: PushServiceControl, publication: Publication, readers: list[dict[str, Any]]
) -> None:
    publication.push(readers[0])
    first = control.report()["wave"]
    assert control.begin_wave() == first + 1
    empty = control.report()
    assert (empty["requests"], empty["accepted"], empty["lost"]) == (0, 0, 10)
    assert (empty["first_accepted_after"], empty["accepted_within"]["50"]) == (None, None)
    publication.push(readers[0])
    assert control.report()["duplicates"] == 0


def test_messages_that_cannot_be_read_are_counted(
    control: PushServiceControl, publication: Publication, readers: list[dict[str, Any]]
) -> None:
    body = publication.encrypt(readers[1])
    assert publication.post(readers[0], body).status_code == 201
    assert control.report()["sample"] == {"decrypted": 0, "failed": 1}
    assert control.messages(readers[0]["endpoint"])[0]["error"]


def test_a_body_sent_to_two_readers_shows_as_a_reused_key_and_salt(
    control: PushServiceControl, publication: Publication, readers: list[dict[str, Any]]
) -> None:
    body = publication.encrypt(readers[0])
    for reader in readers[:3]:
        publication.post(reader, body)
    report = control.report()
    assert (report["reused_keys"], report["reused_salts"]) == (2, 2)


def test_only_the_sample_and_those_to_be_kept_are_decrypted() -> None:
    with PushService.in_thread(sample=0) as service, PushServiceControl(service.origin) as control:
        publication = Publication(service.origin)
        (unread,) = control.add_readers(1)
        (kept,) = control.add_readers(1, keep=True)
        publication.push(unread, "Polls have closed")
        publication.push(kept, "Polls have closed")
        assert control.report()["sample"] == {"decrypted": 1, "failed": 0}
        assert control.messages(unread["endpoint"]) == []
        assert control.messages(kept["endpoint"])[0]["data"] == "Polls have closed"
        publication.session.close()


def test_percentiles_are_of_the_first_acceptances_of_readers() -> None:
    wave = Wave(1, now=100.0)
    for number in range(10):
        wave.count_accepted(number, None, None, now=101.0 + number)
    wave.count_accepted(0, None, None, now=150.0)
    report = wave.report(readers=10, gone=())
    assert report["first_accepted_after"] == 1.0
    assert report["last_accepted_after"] == 50.0
    assert report["accepted_within"] == {"50": 5.0, "90": 9.0, "99": 10.0}


def test_readers_of_any_number_are_counted() -> None:
    wave = Wave(1, now=0.0)
    for number in (1_000_000, 3, 1_000_000, 999_999):
        wave.count_accepted(number, None, None, now=1.0)
    report = wave.report(readers=1_000_001, gone={3, 4})
    assert (report["accepted_readers"], report["duplicates"]) == (3, 1)
    assert report["lost"] == 1_000_001 - 3 - 1


def test_what_is_not_there_is_not_found(service: PushService) -> None:
    for route in ("nothing", "messages?endpoint=https://push.example/1"):
        answer = requests.get(f"{service.origin}/control/{route}", timeout=30)
        assert answer.status_code == 404


def test_it_tells_which_alert_was_read_and_whether_an_older_one_came_late(
    control: PushServiceControl, publication: Publication, readers: list[dict[str, Any]]
) -> None:
    def payload(revision: int) -> str:
        return json.dumps({"notification": {"data": {"alert": "7", "revision": revision}}})

    for reader, revision in zip(readers[:3], (1, 2, 1), strict=True):
        publication.push(reader, payload(revision), Topic="storm")
    publication.push(readers[0], payload(2), Topic="storm")
    publication.push(readers[1], payload(1), Topic="storm")
    report = control.report()
    about = {"topic": "storm", "alert": "7"}
    assert report["versions"] == [
        about | {"revision": 1, "read": 3, "duplicates": 1},
        about | {"revision": 2, "read": 2, "duplicates": 1},
    ]
    assert report["stepped_back"] == 1


def test_it_lists_those_for_whom_nothing_was_accepted_until_they_are_forgotten(
    control: PushServiceControl, publication: Publication, readers: list[dict[str, Any]]
) -> None:
    publication.push(readers[3])
    endpoints = {reader["endpoint"] for reader in readers}
    assert set(control.missing()) == endpoints - {readers[3]["endpoint"]}
    control.forget_readers()
    assert control.missing() == []
    assert control.report()["readers"] == 0
    assert publication.post(readers[3]).status_code == 404


def test_a_duplicate_is_read_though_its_reader_is_not_in_the_sample() -> None:
    with PushService.in_thread(sample=0) as service, PushServiceControl(service.origin) as control:
        publication = Publication(service.origin)
        [reader] = control.add_readers(1, vapid_public_key=publication.public_key)
        with publication.session:
            publication.push(reader)
            assert control.report()["sample"]["decrypted"] == 0
            publication.push(reader)
        assert control.report()["sample"]["decrypted"] == 1


def test_behind_a_proxy_with_tls_tokens_are_for_an_https_origin(
    publication: Publication, readers: list[dict[str, Any]]
) -> None:
    authorization = publication.authorization(aud=publication.origin.replace("http:", "https:"))
    for proto, status in (("https", 201), ("http", 401)):
        answer = publication.post(readers[0], Authorization=authorization, X_Forwarded_Proto=proto)
        assert answer.status_code == status
