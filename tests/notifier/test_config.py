"""Settings from the environment and `.env`."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from notifier.config import Settings, environment_of


def read(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings(_env_file=None)


def test_the_defaults_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(_env_file=None)

    assert settings.base_url == "http://localhost:8000"
    assert settings.database == f"sqlite:///{tmp_path}/var/notifier.sqlite3"
    assert len(settings.warnings) == 1
    assert "VAPID_SUBJECT" in settings.warnings[0]


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    file.write_text("PORT=9001\nPUBLICATION_NAME=The File\nUNKNOWN=1\n")
    monkeypatch.setenv("PUBLICATION_NAME", "The Environment")

    settings = Settings(_env_file=file)

    assert (settings.port, settings.publication_name) == (9001, "The Environment")


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(
        monkeypatch,
        SECTIONS=" Arts , Letters,,",
        ALLOWED_ORIGINS="https://WWW.Example.com/,https://b.example:443,http://[::1]:80",
        ARTICLE_HOSTS="WWW.example.com,localhost:3000",
        EXTRA_PUSH_ORIGINS="http://localhost:9999",
    )

    assert settings.sections == ("Arts", "Letters")
    assert settings.allowed_origins == (
        "https://www.example.com",
        "https://b.example",
        "http://[::1]",
    )
    assert settings.article_hosts == ("www.example.com", "localhost:3000")
    assert any("http://localhost:9999" in warning for warning in settings.warnings)


@pytest.mark.parametrize(("proxies", "warned"), [("0", True), ("1", False)])
def test_https_without_a_proxy_in_front_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, proxies: str, warned: bool
) -> None:
    settings = read(monkeypatch, PUBLIC_URL="https://alerts.example.com", TRUSTED_PROXIES=proxies)
    assert any("TRUSTED_PROXIES" in warning for warning in settings.warnings) is warned


@pytest.mark.parametrize("empty", ["DATABASE_URL", "REDIS_URL", "PUBLIC_URL", "PUSH_CA_FILE"])
def test_what_is_left_empty_is_as_if_it_were_not_there(
    monkeypatch: pytest.MonkeyPatch, empty: str
) -> None:
    settings = read(monkeypatch, **{empty: ""})

    assert not getattr(settings, empty.lower())
    assert settings.database.startswith("sqlite:")
    assert settings.base_url == "http://localhost:8000"


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("PT4H", timedelta(hours=4)),
        ("P1D", timedelta(days=1)),
        ("14400", timedelta(hours=4)),
        (" 60 ", timedelta(minutes=1)),
    ],
)
def test_a_validity_is_a_duration_or_seconds(
    monkeypatch: pytest.MonkeyPatch, text: str, duration: timedelta
) -> None:
    assert read(monkeypatch, ALERT_VALIDITY=text).alert_validity == duration


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("OPT_IN_RATE", "100/min"),
        ("OPT_IN_RATE", "0 per minute"),
        ("OPT_IN_RATE", "\u0661 per minute"),
        ("ALERT_VALIDITY", "59"),
        ("ALERT_VALIDITY", "P8D"),
        ("ALERT_VALIDITY", "-PT4H"),
        ("PUBLICATION_NAME", "x" * 81),
        ("ALLOWED_ORIGINS", "*"),
        ("ALLOWED_ORIGINS", "www.example.com"),
        ("ALLOWED_ORIGINS", "https://www.example.com/path"),
        ("ALLOWED_ORIGINS", "https://user@www.example.com"),
        ("ALLOWED_ORIGINS", "https://www.example.com:99999"),
        ("EXTRA_PUSH_ORIGINS", "ftp://localhost"),
        ("ARTICLE_HOSTS", "https://www.example.com"),
        ("PUBLIC_URL", "alerts.example.com"),
        ("VAPID_SUBJECT", "newsroom@example.com"),
        ("VAPID_SUBJECT", "mailto:ops@localhost"),
        ("LOG_FORMAT", "xml"),
        ("WORKER_PROCESSES", "0"),
    ],
)
def test_nonsense_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        read(monkeypatch, **{name: value})

    assert refused.value.errors()[0]["loc"] == (name.lower(),)


def test_another_process_reads_the_same_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = Settings(
        _env_file=None,
        port=9001,
        public_url="https://alerts.example.com",
        notifier_home=tmp_path,
        redis_url="redis://127.0.0.1/1",
        sections=("Arts",),
        allowed_origins=("https://www.example.com", "https://b.example"),
        push_ca_file=tmp_path / "ca.pem",
        alert_validity=timedelta(minutes=90),
        log_format="json",
    )
    for settings in (everything, Settings(_env_file=None)):
        for name, value in environment_of(settings).items():
            monkeypatch.setenv(name, value)
        assert Settings(_env_file=None) == settings


@pytest.mark.parametrize(
    ("text", "days"), [("P90D", 90), ("90", 90), ("P29D", None), ("29", None), ("4000", None)]
)
def test_after_how_many_days_the_unseen_are_forgotten(
    monkeypatch: pytest.MonkeyPatch, text: str, days: int | None
) -> None:
    if days is None:
        with pytest.raises(ValidationError):
            read(monkeypatch, FORGET_UNSEEN_AFTER=text)
    else:
        settings = read(monkeypatch, FORGET_UNSEEN_AFTER=text)
        assert settings.forget_unseen_after == timedelta(days=days)


def test_a_process_that_is_started_reads_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, FORGET_UNSEEN_AFTER="P90D", PUBLICATION_LANGUAGE="fr-CA")

    again = read(monkeypatch, **environment_of(settings))

    assert again == settings
