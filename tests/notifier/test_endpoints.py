"""Which endpoints and keys are let in, judged by parsers that are not ours."""

import base64
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pycurl
import pytest
import urllib3.util
import yarl
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given, settings
from hypothesis import strategies as st

from notifier.endpoints import (
    Endpoint,
    EndpointPolicy,
    check_auth,
    check_p256dh,
    decode_key,
)
from notifier.errors import InvalidInput

POLICY = EndpointPolicy()
DEVELOPMENT_ORIGINS = ["http://localhost:9999", "https://push.example:8443", "http://[::1]:7"]
DEVELOPMENT = EndpointPolicy(DEVELOPMENT_ORIGINS)
SECRET = "s3cret-capability"  # stands in every refused URL; must never come back out


@pytest.mark.parametrize(
    ("url", "origin", "push_service"),
    [
        ("https://fcm.googleapis.com/fcm/send/a:b-c_d", "https://fcm.googleapis.com", "fcm"),
        ("https://jmt17.google.com/fcm/send/x", "https://jmt17.google.com", "fcm"),
        (
            "https://updates.push.services.mozilla.com/wpush/v2/gAAAA%3D",
            "https://updates.push.services.mozilla.com",
            "mozilla",
        ),
        ("https://web.push.apple.com/QGu", "https://web.push.apple.com", "apple"),
        ("https://eu.push.apple.com/QGu", "https://eu.push.apple.com", "apple"),
        (
            "https://wns2-by3p.notify.windows.com/w/?token=BQYAAAA%2b%2fb",
            "https://wns2-by3p.notify.windows.com",
            "wns",
        ),
    ],
)
def test_the_push_services_of_the_browsers_are_accepted_as_they_come(
    url: str, origin: str, push_service: str
) -> None:
    assert POLICY.check(url) == Endpoint(url, origin, push_service)


@pytest.mark.parametrize(
    "url",
    [
        "HTTPS://FCM.GoogleAPIs.com/Fcm/Send/X",
        "https://fcm.googleapis.com:443/Fcm/Send/X",
    ],
)
def test_two_spellings_of_one_endpoint_become_one(url: str) -> None:
    assert POLICY.check(url).url == "https://fcm.googleapis.com/Fcm/Send/X"


HOSTILE = [
    r"https://127.0.0.1\@fcm.googleapis.com/x",
    r"http://127.0.0.1:8000\@fcm.googleapis.com/x",
    r"https://fcm.googleapis.com\.evil.com/x",
    r"https:\\fcm.googleapis.com/x",
    r"https://fcm.googleapis.com/x\y",
    "https://fcm.googleapis.com@127.0.0.1/x",
    "https://user:password@fcm.googleapis.com/x",
    "https://@fcm.googleapis.com/x",
    "https://fcm.googleapis.com%40127.0.0.1/x",
    "https://fcm.googleapis.com%2f@127.0.0.1/x",
    "https://fcm%2egoogleapis.com/x",
    "http://fcm.googleapis.com/x",
    "http://fcm.googleapis.com:443/x",
    "https://fcm.googleapis.com:80/x",
    "https://fcm.googleapis.com:8443/x",
    "https://fcm.googleapis.com:0443/x",
    "https://fcm.googleapis.com:/x",
    "https://fcm.googleapis.com:443:80/x",
    "https://fcm.googleapis.com:+443/x",
    "https://fcm.googleapis.com:65979/x",
    "https://fcm.googleapis.com:x/x",
    "file:///etc/passwd",
    "file://fcm.googleapis.com/etc/passwd",
    "ftp://fcm.googleapis.com/x",
    "gopher://fcm.googleapis.com/x",
    "javascript:alert(1)//fcm.googleapis.com/",
    "//fcm.googleapis.com/x",
    "fcm.googleapis.com/x",
    "https:/fcm.googleapis.com/x",
    "https:///fcm.googleapis.com/x",
    "https:fcm.googleapis.com/x",
    "https:",
    "https://",
    "",
    "/",
    "https://fcm.googleapis.com",
    "https://fcm.googleapis.com?x",
    "https://evilfcm.googleapis.com/x",
    "https://evil.fcm.googleapis.com/x",
    "https://fcm.googleapis.com.evil.com/x",
    "https://fcm.googleapis.comevil.com/x",
    "https://googleapis.com/x",
    "https://xpush.apple.com/x",
    "https://push.apple.com/x",
    "https://.push.apple.com/x",
    "https://..push.apple.com/x",
    "https://a..push.apple.com/x",
    "https://-a.push.apple.com/x",
    "https://a-.push.apple.com/x",
    "https://a_b.push.apple.com/x",
    "https://127.0.0.1?.push.apple.com/x",
    "https://127.0.0.1/.push.apple.com/x",
    "https://127.0.0.1;.push.apple.com/x",
    "https://127.0.0.1&.push.apple.com/x",
    "https://[.push.apple.com/x",
    "https://[::1].push.apple.com/x",
    "https://[::1]fcm.googleapis.com/x",
    "https://[v1.fcm.googleapis.com]/x",
    "https://" + "a" * 64 + ".push.apple.com/x",
    "https://" + "a." * 130 + "push.apple.com/x",
    "https://notify.windows.com/x",
    "https://fcm.googleapis.com./x",
    "https://web.push.apple.com./x",
    "https://fcm\u3002googleapis\uff0ecom/x",
    "https://fcm\uff0egoogleapis.com/x",
    "https://\uff46cm.googleapis.com/x",
    "https://fcm.google\u0430pis.com/x",
    "https://xn--fcm-googleapis-com.evil/x",
    "https://127.0.0.1/x",
    "https://2130706433/x",
    "https://0x7f000001/x",
    "https://0177.0.0.1/x",
    "https://127.1/x",
    "https://0/x",
    "https://localhost/x",
    "https://[::1]/x",
    "https://[::ffff:127.0.0.1]/x",
    "https://[::ffff:7f00:1]/x",
    "https://[64:ff9b::7f00:1]/x",
    "https://[fe80::1%25eth0]/x",
    "https://169.254.169.254/latest/meta-data/",
    "https://[fd00:ec2::254]/latest/meta-data/",
    "https://metadata.google.internal/computeMetadata/v1/",
    "https://100.100.100.200/x",
    "https://fcm.googleapis.com/x#fragment",
    "https://127.0.0.1#@fcm.googleapis.com/x",
    "https://fcm.googleapis.com#@127.0.0.1/x",
    "https://fcm.googleapis.com/x\n",
    "https://fcm.googleapis.com/x\r\nHost: evil",
    "https://fcm.googleapis.com\t/x",
    "ht\ntps://fcm.googleapis.com/x",
    "https://fcm.googleapis.com/x\x00",
    "https://fcm.googleapis.com/x\x7f",
    " https://fcm.googleapis.com/x",
    "https://fcm.googleapis.com/x y",
    "https://fcm.googleapis.com /x",
    "https://127.0.0.1 fcm.googleapis.com/x",
    "https://fcm.googleapis.com/\u00e9",
    "https://fcm.googleapis.com/\ud800",
    "https://fcm.googleapis.com/" + "x" * 2022,
    "https://fcm.googleapis.com,127.0.0.1/x",
]


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_urls_are_refused_in_a_sentence_that_does_not_repeat_them(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        POLICY.check(url.replace("/x", f"/{SECRET}"))
    assert refused.value.field == "endpoint"
    sentence = str(refused.value)
    assert sentence.startswith("The endpoint")
    assert sentence.endswith(".")
    assert SECRET not in sentence
    assert "127.0.0.1" not in sentence
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("https://fcm.googleapis.com@evil.com/x", "The endpoint contains a user name."),
        ("https://127.0.0.1\\@fcm.googleapis.com/x", "The endpoint contains a backslash."),
        ("https://fcm.googleapis.com/x#y", "The endpoint contains a fragment."),
        ("http://fcm.googleapis.com/x", "The endpoint does not use https."),
        ("https://fcm.googleapis.com:80/x", "The endpoint names a port other than 443."),
        ("https://evil.com/x", "The endpoint does not belong to a known push service."),
        ("https://fcm.googleapis.com./x", "The endpoint's host is not a host name."),
        ("https://fcm.googleapis.com", "The endpoint has no path."),
        ("nonsense", "The endpoint is not a URL with a host."),
    ],
)
def test_the_sentence_says_what_is_wrong(url: str, sentence: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        POLICY.check(url)
    assert str(refused.value) == sentence


def test_the_longest_url_is_2048_characters() -> None:
    longest = "https://fcm.googleapis.com/".ljust(2048, "x")
    assert POLICY.check(longest).url == longest
    with pytest.raises(InvalidInput, match=r"longer than 2,048 characters"):
        POLICY.check(longest + "x")


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://localhost:9999/wpush/v2/x", "http://localhost:9999"),
        ("http://LOCALHOST:9999/x", "http://localhost:9999"),
        ("https://push.example:8443/x?y=1", "https://push.example:8443"),
        ("http://[::1]:7/x", "http://[::1]:7"),
    ],
)
def test_additional_origins_are_accepted_and_are_their_own_push_service(
    url: str, origin: str
) -> None:
    endpoint = DEVELOPMENT.check(url)
    assert (endpoint.origin, endpoint.push_service) == (origin, origin)


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost:9999/x",
        "http://localhost:9998/x",
        "http://localhost/x",
        "http://localhost:99990/x",
        "http://evil.localhost:9999/x",
        "http://127.0.0.1:9999/x",
        "https://push.example/x",
        "http://push.example:8443/x",
        "http://[::1]:70/x",
        "http://[::]:7/x",
        *HOSTILE,
    ],
)
def test_additional_origins_open_nothing_else(url: str) -> None:
    with pytest.raises(InvalidInput):
        DEVELOPMENT.check(url)


def test_an_additional_origin_may_be_written_with_its_default_port_or_a_slash() -> None:
    policy = EndpointPolicy(["http://Push.Example:80/", "https://other.example:443"])
    assert policy.check("http://push.example/x").origin == "http://push.example"
    assert policy.check("https://other.example/x").origin == "https://other.example"


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "localhost:9999",
        "*",
        "ftp://localhost",
        "http://user@localhost",
        "http://localhost/path",
        "http://localhost?x",
        "http://*.example",
        "http://localhost:x",
    ],
)
def test_what_is_not_an_origin_is_refused_when_the_policy_is_made(origin: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        EndpointPolicy([origin])
    assert refused.value.field == "extra_push_origins"


ALLOWED_ORIGINS = {
    "https://fcm.googleapis.com",
    "https://jmt17.google.com",
    "https://updates.push.services.mozilla.com",
    "http://localhost:9999",
    "https://push.example:8443",
    "http://[::1]:7",
}


def allowed(origin: str) -> bool:
    host = origin.removeprefix("https://")
    return origin in ALLOWED_ORIGINS or (
        origin != host and host.endswith((".push.apple.com", ".notify.windows.com"))
    )


def curls_origin(proxy: str, url: str) -> str:
    """Where libcurl would connect: what it asks a proxy for."""
    scheme = url.partition(":")[0].lower()
    curl = pycurl.Curl()
    try:
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.PROXY, proxy)
        curl.setopt(pycurl.NOPROXY, "")
        curl.setopt(pycurl.HTTPPROXYTUNNEL, 1)
        said: list[bytes] = []
        curl.setopt(pycurl.HEADERFUNCTION, said.append)
        with pytest.raises(pycurl.error):  # the proxy refuses, naming what it was asked for
            curl.perform()
    finally:
        curl.close()
    asked = next(line for line in said if line.startswith(b"X-Asked:")).split()[1].decode()
    return f"{scheme}://{asked}".removesuffix({"https": ":443", "http": ":80"}[scheme])


@pytest.fixture(scope="module")
def proxy() -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                request = connection.recv(65536)
                connection.sendall(
                    b"HTTP/1.1 403 No\r\nX-Asked: " + request.split(b" ")[1] + b"\r\n"
                    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
                )

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


PIECES = [
    "https://", "http://", "HTTPS://", "//", "/", "\\", "@", ":", ":443", ":80", ":9999", ":8443",
    ":7", "?", "#", "%40", "%2e", ".", "..", ";", ",", "[", "]", "[::1]", "localhost", "127.0.0.1",
    "fcm.googleapis.com", "push.example", "evil", ".push.apple.com", "web.push.apple.com",
    "db5.notify.windows.com", "updates.push.services.mozilla.com", "x", "\u3002", "\n", "\t", " ",
]  # fmt: skip
URLS = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join),
    st.builds(
        "{}{}{}{}".format,
        st.sampled_from(["https://", "http://", "HTTPS://"]),
        st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join),
        st.just("/"),
        st.text(max_size=8),
    ),
    st.builds(
        "{}{}/{}".format,
        st.sampled_from(sorted(ALLOWED_ORIGINS)),
        st.sampled_from(["", ":443", "."]),
        st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20),
    ),
)


@settings(max_examples=600, deadline=None)
@given(url=URLS)
def test_whatever_is_accepted_is_the_allowed_origin_to_every_other_parser(
    proxy: str, url: str
) -> None:
    try:
        endpoint = DEVELOPMENT.check(url)
    except InvalidInput:
        return
    assert allowed(endpoint.origin)
    assert DEVELOPMENT.check(endpoint.url) == endpoint
    for spelling in (url, endpoint.url):
        parsed = urllib3.util.parse_url(spelling)
        assert parsed.auth is None
        port = "" if parsed.port in (None, 443 if parsed.scheme == "https" else 80) else parsed.port
        assert f"{parsed.scheme}://{parsed.host}{port and f':{port}'}" == endpoint.origin
        assert str(yarl.URL(spelling).origin()) == endpoint.origin
        assert urlsplit(spelling).username is None
        assert curls_origin(proxy, spelling) == endpoint.origin


@settings(max_examples=600, deadline=None)
@given(url=URLS)
@example("https://fcm.googleapis.comx")
@example("https://fcm.googleapis.com:")
@example("https://fcm.googleapis.com?/x")
@example("https://fcm.googleapis.com")
def test_an_origin_that_has_passed_before_changes_nothing(url: str) -> None:
    experienced = EndpointPolicy(DEVELOPMENT_ORIGINS)
    for origin in sorted(ALLOWED_ORIGINS):
        experienced.check(f"{origin}/x")
    assert judgement(experienced, url) == judgement(EndpointPolicy(DEVELOPMENT_ORIGINS), url)


def judgement(policy: EndpointPolicy, url: str) -> Endpoint | str:
    try:
        return policy.check(url)
    except InvalidInput as refusal:
        return str(refusal)


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def a_point() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@given(raw=st.binary(min_size=1, max_size=70))
def test_a_key_is_read_however_a_library_writes_it(raw: bytes) -> None:
    for text in (
        encode(raw),
        base64.urlsafe_b64encode(raw).decode(),
        base64.b64encode(raw).decode(),
        base64.b64encode(raw).decode().rstrip("="),
    ):
        assert decode_key(text, "auth") == raw


@pytest.mark.parametrize(
    "text",
    [
        "",
        "=",
        "A",
        "AAAAA",
        "AA=",
        "AA===",
        "AAA==",
        "AAAA=",
        "AA==AA==",
        "AB",  # bits beyond the last byte
        "AA AA",
        " AAAA",
        "AAAA\n",
        "+A-A",
        "AA\u00e9A",
        "AAA.",
        "\uff21AAA",
        "A" * 132,
    ],
)
def test_anything_else_is_not_a_key(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^The auth key is not base64url\.$") as refused:
        decode_key(text, "auth")
    assert refused.value.field == "auth"


def test_a_point_on_the_curve_and_sixteen_bytes_are_accepted_as_they_are() -> None:
    point = a_point()
    assert check_p256dh(point) == point
    assert check_auth(b"0123456789abcdef") == b"0123456789abcdef"


def test_other_public_keys_are_refused() -> None:
    point = a_point()
    compressed = bytes([2 + point[-1] % 2]) + point[1:33]
    off_the_curve = point[:-1] + bytes([point[-1] ^ 1])
    hybrid = bytes([6 + point[-1] % 2]) + point[1:]
    for raw in (b"", b"\0", compressed, off_the_curve, hybrid, point[:-1], point + b"\0",
                b"\4" + bytes(64), b"\4" + b"\xff" * 64):  # fmt: skip
        with pytest.raises(InvalidInput) as refused:
            check_p256dh(raw)
        assert refused.value.field == "p256dh"


@pytest.mark.parametrize("length", [0, 12, 15, 17, 32])
def test_other_auth_lengths_are_refused(length: int) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_auth(bytes(length))
    assert refused.value.field == "auth"
