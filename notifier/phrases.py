"""What notifications say by themselves, in the languages of the reader's script."""

from dataclasses import dataclass

_RIGHT_TO_LEFT_SCRIPTS = frozenset({"adlm", "arab", "hebr", "nkoo", "rohg", "syrc", "thaa"})
_RIGHT_TO_LEFT_LANGUAGES = frozenset({"ar", "ckb", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi"})

_SPACES = " \N{NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True)
class Phrases:
    """One language's. `{title}` and `{publication}` stand for what is put in."""

    read: str
    mute: str
    correction: str
    withdrawn_title: str
    withdrawn_body: str
    welcome_title: str
    welcome_body: str
    test_title: str
    test_body: str

    def corrected(self, title: str) -> str:
        """The title of a correction, marked as one, unless its author has marked it already."""
        mark = self.correction.partition("{")[0].rstrip(f"{_SPACES}:")
        rest = title[len(mark) :].lstrip(_SPACES)
        if title.casefold().startswith(mark.casefold()) and rest.startswith((":", "-")):
            return title
        return self.correction.replace("{title}", title)

    def welcome(self, publication: str) -> tuple[str, str]:
        """Title and body of the message that follows opting in."""
        return self.welcome_title.replace("{publication}", publication), self.welcome_body

    def test(self, publication: str) -> tuple[str, str]:
        """Title and body of the message that a reader asks for to see whether alerts arrive."""
        return self.test_title.replace("{publication}", publication), self.test_body


def phrases_of(language: str) -> Phrases:
    """The phrases for a language tag (BCP 47); English where there are none."""
    return _PHRASES.get(language.partition("-")[0].lower(), _PHRASES["en"])


def has_phrases(language: str) -> bool:
    """Whether there are phrases in the language of a tag (BCP 47)."""
    return language.partition("-")[0].lower() in _PHRASES


def direction_of(language: str) -> str:
    """`rtl` or `ltr`: how text in the language runs, by its script where the tag names one."""
    first, *others = language.lower().split("-")
    script = next((part for part in others if len(part) == 4 and part.isalpha()), None)
    if script is None:
        return "rtl" if first in _RIGHT_TO_LEFT_LANGUAGES else "ltr"
    return "rtl" if script in _RIGHT_TO_LEFT_SCRIPTS else "ltr"


_PHRASES = {
    "en": Phrases(
        read="Read",
        mute="Mute this story",
        correction="Correction: {title}",
        withdrawn_title="We have withdrawn an alert",
        withdrawn_body="An alert that we sent was not right. We are sorry.",
        welcome_title="Welcome to the alerts of {publication}",
        welcome_body="Breaking news will reach you like this. "
        "You can change or end it on our site.",
        test_title="A test from {publication}",
        test_body="Alerts arrive on this device. Nothing has happened.",
    ),
    "fr": Phrases(
        read="Lire",
        mute="Masquer ce sujet",
        correction="Correction\N{NO-BREAK SPACE}: {title}",
        withdrawn_title="Nous avons retiré une alerte",
        withdrawn_body="Une de nos alertes était inexacte. Veuillez nous en excuser.",
        welcome_title="Bienvenue parmi les abonnés aux alertes de {publication}",
        welcome_body="Les nouvelles urgentes vous parviendront ainsi. "
        "Vous pouvez changer ou arrêter cela sur notre site.",
        test_title="Un essai de {publication}",
        test_body="Les alertes arrivent sur cet appareil. Aucune alerte en cours.",
    ),
    "es": Phrases(
        read="Leer",
        mute="Silenciar esta noticia",
        correction="Corrección: {title}",
        withdrawn_title="Hemos retirado una alerta",
        withdrawn_body="Una alerta que enviamos no era correcta. Pedimos disculpas.",
        welcome_title="Le damos la bienvenida a las alertas de {publication}",
        welcome_body="Las noticias de última hora le llegarán así. "
        "Puede cambiarlo o terminarlo en nuestro sitio.",
        test_title="Una prueba de {publication}",
        test_body="Las alertas llegan a este dispositivo. No ha pasado nada.",
    ),
    "pt": Phrases(
        read="Ler",
        mute="Silenciar este assunto",
        correction="Correção: {title}",
        withdrawn_title="Retirámos um alerta",
        withdrawn_body="Um alerta que enviámos não estava correto. Pedimos desculpa.",
        welcome_title="Damos-lhe as boas-vindas aos alertas de {publication}",
        welcome_body="As notícias de última hora chegarão assim. "
        "Pode alterar ou terminar isto no nosso site.",
        test_title="Um teste de {publication}",
        test_body="Os alertas chegam a este dispositivo. Não aconteceu nada.",
    ),
    "de": Phrases(
        read="Lesen",
        mute="Thema stummschalten",
        correction="Berichtigung: {title}",
        withdrawn_title="Wir haben eine Eilmeldung zurückgezogen",
        withdrawn_body="Eine Eilmeldung von uns war nicht richtig. Das tut uns leid.",
        welcome_title="Willkommen bei den Eilmeldungen von {publication}",
        welcome_body="So erreichen Sie Eilmeldungen. "
        "Auf unserer Website können Sie das ändern oder beenden.",
        test_title="Ein Test von {publication}",
        test_body="Eilmeldungen kommen auf diesem Gerät an. Es ist nichts geschehen.",
    ),
    "ar": Phrases(
        read="اقرأ",
        mute="كتم هذا الخبر",
        correction="تصحيح: {title}",
        withdrawn_title="لقد سحبنا تنبيهًا",
        withdrawn_body="كان أحد تنبيهاتنا غير صحيح. نعتذر عن ذلك.",
        welcome_title="مرحبًا بك في تنبيهات {publication}",
        welcome_body="ستصلك الأخبار العاجلة بهذا الشكل. يمكنك تغيير ذلك أو إيقافه على موقعنا.",
        test_title="تجربة من {publication}",
        test_body="التنبيهات تصل إلى هذا الجهاز. لم يحدث شيء.",
    ),
    "ha": Phrases(
        read="Karanta",
        mute="Rufe wannan labari",
        correction="Gyara: {title}",
        withdrawn_title="Mun janye wani labari",
        withdrawn_body="Wani labari da muka aika ba daidai ba ne. Muna neman afuwa.",
        welcome_title="Barka da zuwa sanarwar {publication}",
        welcome_body="Labarai da dumi-duminsu za su zo muku haka. "
        "Za ku iya canzawa ko dakatarwa a shafinmu.",
        test_title="Gwaji daga {publication}",
        test_body="Sanarwa na isowa wannan na'ura. Babu abin da ya faru.",
    ),
    "sw": Phrases(
        read="Soma",
        mute="Nyamazisha habari hii",
        correction="Marekebisho: {title}",
        withdrawn_title="Tumeondoa arifa moja",
        withdrawn_body="Arifa moja tuliyotuma haikuwa sahihi. Tunaomba radhi.",
        welcome_title="Karibu kwenye arifa za {publication}",
        welcome_body="Habari za dharura zitakufikia hivi. "
        "Unaweza kubadilisha au kusitisha kwenye tovuti yetu.",
        test_title="Jaribio kutoka {publication}",
        test_body="Arifa zinafika kwenye kifaa hiki. Hakuna lililotokea.",
    ),
}
