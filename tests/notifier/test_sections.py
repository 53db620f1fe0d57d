"""The sections that readers choose from."""

import pytest
from publication import Publication

from notifier import audience, sections
from notifier.audience import Audience
from notifier.db import Database
from notifier.errors import InvalidInput


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Politics", "politics"),
        ("  World & Europe ", "world-europe"),
        ("Sport/Fußball", "sport-fussball"),
        ("Kultur \u2014 heute", "kultur-heute"),
        ("Économie", "économie"),
        ("\uff33port", "sport"),
        ("!?", ""),
    ],
)
def test_slugs(name: str, slug: str) -> None:
    assert sections.slug_of(name) == slug


def offer(db: Database, *names: str) -> list[str]:
    with db.write() as session:
        sections.sync(session, names)
    with db.read() as session:
        return [section.slug for section in sections.offered(session)]


def test_what_is_named_is_offered_in_that_order(db: Database) -> None:
    assert offer(db, "Sport", "Arts", "World") == ["sport", "arts", "world"]


def test_a_section_keeps_its_bit_while_it_is_not_offered(
    db: Database, publication: Publication
) -> None:
    (reader,) = publication.add_readers(1, sections=["sport"])
    before = publication.subscription(reader)

    offer(db, "World", "Arts")
    with db.read() as session:
        assert before is not None
        assert sections.slugs_of(session, before.sections) == ["sport"]
        assert sections.readers_bits(session, ["sport"]) == before.sections
        assert sections.bits_of(session, ["sport"]) == (0, ["sport"])

    offer(db, "Arts", "SPORT")
    with db.read() as session:
        assert sections.slugs_of(session, before.sections) == ["sport"]
        assert sections.choice_bits(session, ["Sport"]) == before.sections
        assert [section.name for section in sections.offered(session)] == ["Arts", "SPORT"]


def test_bits_are_never_shared_and_run_out_at_sixty_two(db: Database) -> None:
    names = [f"Section {number}" for number in range(57)]  # five are there already
    offer(db, *names)
    with db.read() as session:
        bits = [sections.choice_bits(session, [name]) for name in names]
        assert len(set(bits)) == 57
        assert all(bit & sections.NOBODYS_CHOICE == 0 for bit in bits)
        assert max(bits) == 1 << 61

    with pytest.raises(InvalidInput) as refused:
        offer(db, *names, "One too many")
    assert refused.value.field == "SECTIONS"


@pytest.mark.parametrize("name", ["", "!?", "x" * 81])
def test_what_is_no_name_is_refused(db: Database, name: str) -> None:
    with pytest.raises(InvalidInput):
        offer(db, "Sport", name)


def test_who_gets_an_alert(db: Database, publication: Publication) -> None:
    publication.add_readers(1)
    publication.add_readers(2, sections=["sport"])
    publication.add_readers(4, sections=["world", "sport"])
    publication.add_readers(8, sections=["politics"])

    def reach(*names: str) -> int:
        with db.read() as session:
            return audience.size(session, Audience(sections.choice_bits(session, names)))

    assert reach() == 15
    assert reach("sport") == 7
    assert reach("world") == 5
    assert reach("world", "politics") == 13
    with db.read() as session:
        assert audience.size(session, Audience(sections.NOBODYS_CHOICE)) == 1


def test_ids_come_from_high_to_low(db: Database, publication: Publication) -> None:
    ids = publication.add_readers(5)

    with db.read() as session:
        assert audience.end(session) == ids[-1] + 1
        assert audience.ids_below(session, Audience(), ids[3], 2) == [ids[2], ids[1]]


def test_nobody_has_subscribed_yet(db: Database) -> None:
    with db.read() as session:
        assert audience.end(session) == 1
        assert audience.size(session, Audience()) == 0
