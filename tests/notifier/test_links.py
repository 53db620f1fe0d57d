"""Which links an alert may have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.errors import InvalidInput
from notifier.links import LinkPolicy

ANY = LinkPolicy()
OWN = LinkPolicy(("www.example.com", "localhost:3000", "127.0.0.1"), "http://localhost:8000")


@pytest.mark.parametrize(
    ("policy", "url", "expected"),
    [
        (ANY, "https://anything.example/a?b=c&d#e", None),
        (ANY, "https://anything.example:8443/", None),
        (ANY, "https://[2001:db8::1]/", None),
        (ANY, "https://a.example/caf%C3%A9?q=100%25", None),
        (ANY, "https://a.example/café", "https://a.example/caf%C3%A9"),
        (ANY, "https://a.example/?q=ü#ö", "https://a.example/?q=%C3%BC#%C3%B6"),
        (ANY, "https://a.example/<\"'>", "https://a.example/%3C%22'%3E"),
        (ANY, "https://bücher.example/", "https://xn--bcher-kva.example/"),
        (ANY, "https://bücher.example:8443/", "https://xn--bcher-kva.example:8443/"),
        (ANY, "https://a.example/\u2028", "https://a.example/%E2%80%A8"),
        (OWN, "https://www.example.com/a", None),
        (OWN, "https://WWW.example.com/a", None),
        (OWN, "http://localhost:8000/", None),
        (OWN, "http://localhost:3000/a", None),
        (OWN, "http://127.0.0.1/a", None),
        (OWN, "http://127.0.0.1:5000/a", None),
    ],
)
def test_accepted(policy: LinkPolicy, url: str, expected: str | None) -> None:
    assert policy.check(url) == (expected or url)


@pytest.mark.parametrize(
    ("policy", "url"),
    [
        (ANY, ""),
        (ANY, "/relative"),
        (ANY, "//www.example.com/"),
        (ANY, "www.example.com"),
        (ANY, "https:"),
        (ANY, "https://"),
        (ANY, "https:///www.example.com/"),
        (ANY, "https:www.example.com/"),
        (ANY, "https://:443/"),
        (ANY, "http://www.example.com/"),
        (ANY, "http://localhost/"),
        (ANY, "javascript:alert(1)"),
        (ANY, "JavaScript:alert(1)//https://www.example.com"),
        (ANY, "java\tscript:alert(1)"),
        (ANY, "data:text/html,<script>alert(1)</script>"),
        (ANY, "file:///etc/passwd"),
        (ANY, "ftp://www.example.com/"),
        (ANY, "https://www.example.com\\@evil.example/"),
        (ANY, "https:\\\\evil.example/"),
        (ANY, "https://www.example.com@evil.example/"),
        (ANY, "https://user:password@www.example.com/"),
        (ANY, "https://@www.example.com/"),
        (ANY, "https://www.example.com/a b"),
        (ANY, " https://www.example.com/"),
        (ANY, "https://www.example.com/\r\nX: y"),
        (ANY, "https://www.example.com/\x00"),
        (ANY, "https://www.example.com/\x7f"),
        (ANY, "https://www.example.com:99999/"),
        (ANY, "https://www.example.com:x/"),
        (ANY, "https://[::1/"),
        (ANY, "https://exa\u2100mple.com/"),  # becomes "a/c" when a browser normalises it
        (ANY, f"https://{'ü' * 64}.example/"),
        (ANY, "https://www.example.com/" + "a" * 2048),
        (ANY, "https://www.example.com/" + "ü" * 400),  # 6 bytes each once encoded
        (OWN, "https://evil.example/"),
        (OWN, "https://www.example.com.evil.example/"),
        (OWN, "https://evilwww.example.com/"),
        (OWN, "https://example.com/"),
        (OWN, "https://\uff57\uff57\uff57.example.com.evil.example/"),
        (OWN, "http://www.example.com/"),
        (OWN, "http://localhost:8001/"),
        (OWN, "http://localhost:8000.evil.example/"),
        (OWN, "http://localhost:8000@evil.example/"),
    ],
)
def test_refused(policy: LinkPolicy, url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        policy.check(url)
    assert refused.value.field == "url"


def test_pictures_may_lie_on_any_https_host_or_here() -> None:
    for url in ("https://cdn.example.net/a.jpg", "http://localhost:8000/static/a.jpg"):
        assert OWN.check_image(url) == url
    for url in ("http://cdn.example.net/a.jpg", "javascript:alert(1)", f"https://{'ü' * 64}.net/"):
        with pytest.raises(InvalidInput) as refused:
            OWN.check_image(url)
        assert refused.value.field == "image"


def test_without_an_origin_of_our_own_nothing_else_gets_in() -> None:
    for url in ("/static/a.jpg", "//evil.example/a.jpg"):
        with pytest.raises(InvalidInput):
            ANY.check_image(url)


@given(st.text(max_size=60).map("https://www.example.com/".__add__) | st.text(max_size=80))
def test_what_is_accepted_is_plain_ascii_and_stays_as_it_is(url: str) -> None:
    try:
        accepted = OWN.check(url)
    except InvalidInput:
        return
    assert accepted.isascii()
    assert not set(accepted) & set(' "<>\\\r\n\t')
    assert accepted.startswith(("https://www.example.com", "http://localhost:", "http://127.0.0.1"))
    assert OWN.check(accepted) == accepted
