"""VAPID keys on disk and the tokens that push services get to see."""

import base64
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import py_vapid
import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from notifier.errors import InvalidInput, NotifierError
from notifier.push import vapid
from notifier.push.vapid import (
    UnknownVapidKeyError,
    UnreadableVapidKeyError,
    VapidKey,
    VapidSigner,
    check_subject,
)

FCM = "https://fcm.googleapis.com"
SUBJECT = "mailto:newsdesk@example.com"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def parts_of(header: str) -> tuple[dict[str, object], dict[str, object], bytes]:
    """The JOSE header, the claims and the public key of an Authorization header, verified."""
    assert py_vapid.Vapid02.verify(header)
    scheme, _, parameters = header.partition(" ")
    assert scheme == "vapid"
    token, key = (pair.split("=", 1)[1] for pair in parameters.split(","))
    head, claims, _ = token.split(".")
    return json.loads(decode(head)), json.loads(decode(claims)), decode(key)


def claims_of(header: str) -> dict[str, object]:
    return parts_of(header)[1]


def test_a_token_says_for_whom_until_when_and_by_whom() -> None:
    key = VapidKey.generate()
    with time_machine.travel(NOW, tick=False):
        header = VapidSigner({7: key}, SUBJECT).authorization(7, FCM)
    assert parts_of(header) == (
        {"typ": "JWT", "alg": "ES256"},
        {
            "aud": FCM,
            "exp": int((NOW + timedelta(hours=12)).timestamp()),
            "sub": SUBJECT,
        },
        key.public_key,
    )
    assert "=" not in header.partition("t=")[2].partition(",")[0]


@pytest.mark.parametrize("origin", ["http://localhost:9999", "http://[::1]:7"])
def test_the_audience_is_the_origin_with_its_port(origin: str) -> None:
    signer = VapidSigner({1: VapidKey.generate()}, SUBJECT)
    assert claims_of(signer.authorization(1, origin))["aud"] == origin


def test_one_token_per_origin_and_key_is_reused_until_an_hour_before_its_end() -> None:
    signer = VapidSigner({1: VapidKey.generate(), 2: VapidKey.generate()}, SUBJECT)
    with time_machine.travel(NOW, tick=False) as clock:
        first = signer.authorization(1, FCM)
        assert signer.authorization(1, "https://web.push.apple.com") != first
        assert parts_of(signer.authorization(2, FCM))[2] != parts_of(first)[2]
        clock.move_to(NOW + timedelta(hours=10, minutes=59))
        assert signer.authorization(1, FCM) == first
        clock.move_to(NOW + timedelta(hours=11, seconds=1))
        renewed = signer.authorization(1, FCM)
    assert claims_of(renewed)["exp"] == int((NOW + timedelta(hours=23, seconds=1)).timestamp())
    assert claims_of(first)["aud"] == claims_of(renewed)["aud"] == FCM


def test_a_token_from_the_future_is_not_used_when_the_clock_was_set_back() -> None:
    signer = VapidSigner({1: VapidKey.generate()}, SUBJECT)
    with time_machine.travel(NOW + timedelta(days=2), tick=False) as clock:
        signer.authorization(1, FCM)
        clock.move_to(NOW)
        header = signer.authorization(1, FCM)
        assert claims_of(header)["exp"] == int((NOW + timedelta(hours=12)).timestamp())
        assert signer.resign(1, FCM) == header


def test_signing_afresh_happens_once_a_minute() -> None:
    signer = VapidSigner({1: VapidKey.generate()}, SUBJECT)
    with time_machine.travel(NOW, tick=False) as clock:
        first = signer.authorization(1, FCM)
        assert signer.resign(1, FCM) == first
        clock.move_to(NOW + timedelta(minutes=1))
        second = signer.resign(1, FCM)
        assert second != first
        assert signer.authorization(1, FCM) == signer.resign(1, FCM) == second
        clock.move_to(NOW + timedelta(minutes=1, seconds=59))
        assert signer.resign(1, FCM) == second
        assert signer.resign(1, "https://web.push.apple.com")


def test_hosts_that_readers_name_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vapid, "MAX_TOKENS", 3)
    signer = VapidSigner({1: VapidKey.generate()}, SUBJECT)
    tokens = [signer.authorization(1, f"https://{n}.notify.windows.com") for n in range(4)]
    assert signer.authorization(1, "https://3.notify.windows.com") == tokens[3]
    assert signer.authorization(1, "https://1.notify.windows.com") == tokens[1]
    assert signer.authorization(1, "https://0.notify.windows.com") != tokens[0]


def test_an_unknown_key_has_an_error_of_its_own() -> None:
    signer = VapidSigner({1: VapidKey.generate()}, SUBJECT)
    for sign in (signer.authorization, signer.resign):
        with pytest.raises(UnknownVapidKeyError):
            sign(2, FCM)
    assert issubclass(UnknownVapidKeyError, NotifierError)


def test_a_key_that_was_made_later_is_looked_for_and_not_all_the_time() -> None:
    keys = {1: VapidKey.generate()}
    looks = 0

    def reload() -> dict[int, VapidKey]:
        nonlocal looks
        looks += 1
        return keys

    signer = VapidSigner(keys, "mailto:ops@example.com", reload)
    with time_machine.travel(0, tick=False) as clock:
        signer.authorization(1, "https://fcm.googleapis.com")
        assert looks == 0
        for _ in range(3):
            with pytest.raises(UnknownVapidKeyError):
                signer.authorization(2, "https://fcm.googleapis.com")
        assert looks == 1
        keys[2] = VapidKey.generate()
        clock.shift(vapid.RELOADED_AFTER)
        assert keys[2].application_server_key in signer.authorization(
            2, "https://fcm.googleapis.com"
        )


def test_keys_that_cannot_be_looked_for_cost_only_the_one_that_is_missing() -> None:
    def reload() -> dict[int, VapidKey]:
        raise OSError("the database is away")

    signer = VapidSigner({1: VapidKey.generate()}, "mailto:ops@example.com", reload)
    with pytest.raises(UnknownVapidKeyError):
        signer.authorization(2, "https://fcm.googleapis.com")
    assert signer.authorization(1, "https://fcm.googleapis.com")


def test_a_saved_key_is_private_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "vapid.pem"
    key = VapidKey.generate()
    key.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert VapidKey.load(path) == key
    assert VapidKey.load(path).with_id(9).id == 9
    assert len(key.public_key) == 65
    assert decode(key.application_server_key) == key.public_key
    assert "=" not in key.application_server_key
    assert repr(key.private_key) not in repr(key)


def test_a_saved_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "vapid.pem"
    VapidKey.generate().save(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        VapidKey.generate().save(path)
    dangling = tmp_path / "link.pem"
    dangling.symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(FileExistsError):
        VapidKey.generate().save(dangling)
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [dangling, path]


def test_keys_go_back_and_forth_between_us_and_the_reference(tmp_path: Path) -> None:
    theirs = py_vapid.Vapid02()
    theirs.generate_keys()
    theirs.save_key(str(tmp_path / "theirs.pem"))
    loaded = VapidKey.load(tmp_path / "theirs.pem")
    assert loaded.private_key.private_numbers() == theirs.private_key.private_numbers()

    ours = VapidKey.generate()
    ours.save(tmp_path / "ours.pem")
    read_back = py_vapid.Vapid02.from_file(str(tmp_path / "ours.pem"))
    assert read_back.private_key.private_numbers() == ours.private_key.private_numbers()


def test_files_without_a_p256_key_are_named_but_not_shown(tmp_path: Path) -> None:
    pem, pkcs8 = Encoding.PEM, PrivateFormat.PKCS8
    p256 = ec.generate_private_key(ec.SECP256R1())
    contents = {
        "empty": b"",
        "text": b"not a key",
        "broken": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "p384": ec.generate_private_key(ec.SECP384R1()).private_bytes(pem, pkcs8, NoEncryption()),
        "rsa": rsa.generate_private_key(65537, 2048).private_bytes(pem, pkcs8, NoEncryption()),
        "encrypted": p256.private_bytes(pem, pkcs8, BestAvailableEncryption(b"x")),
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UnreadableVapidKeyError) as refused:
            VapidKey.load(path)
        assert str(path) in str(refused.value)
        assert "BEGIN" not in str(refused.value)


@pytest.mark.parametrize(
    "subject",
    [
        "mailto:newsdesk@example.com",
        "mailto:first.last+push@news.example.co.uk",
        "https://example.com",
        "https://example.com/contact?topic=push",
        "https://example.com:8443/",
    ],
)
def test_contacts_that_push_services_accept(subject: str) -> None:
    assert check_subject(subject) == subject
    assert VapidSigner({}, subject)


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "newsdesk@example.com",
        "mailto:",
        "mailto:newsdesk",
        "mailto:@example.com",
        "mailto:a@b@example.com",
        "mailto: newsdesk@example.com",
        "mailto: <newsdesk@example.com>",
        "mailto:<newsdesk@example.com>",
        "mailto:newsdesk@example.com\n",
        "mailto:newsdesk@example.com,other@example.com",
        "mailto:newsdesk@example.com?subject=x",
        "mailto:a..b@example.com",
        "mailto:newsdesk@localhost",
        "mailto:newsdesk@news.localhost",
        "mailto:newsdesk@127.0.0.1",
        "mailto:newsdesk@[127.0.0.1]",
        "mailto:newsdesk@example.com.",
        "mailto:newsdesk@-example.com",
        "Mailto:newsdesk@example.com",
        "http://example.com",
        "https://",
        "https:example.com",
        "https://localhost",
        "https://localhost:8000/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[",
        "https://user@example.com/",
        "https://example.com/ ",
        "tel:+1",
    ],
)
def test_contacts_that_push_services_refuse(subject: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_subject(subject)
    assert refused.value.field == "vapid_subject"
    with pytest.raises(InvalidInput):
        VapidSigner({}, subject)
