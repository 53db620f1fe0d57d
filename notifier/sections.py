"""The sections that readers choose from, and their coding as bits of a number."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from notifier.errors import InvalidInput
from notifier.models import Section

LONGEST_NAME = 80
MOST_SECTIONS = 62  # of a signed 64-bit number, one bit is the sign and one is the next constant
NOBODYS_CHOICE = 1 << MOST_SECTIONS
"""The bit of no section: an alert with it goes to those readers only who chose no section."""


def slug_of(name: str) -> str:
    """A section's name as it stands in the API: lower case, words joined by hyphens."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"[^\w]+", "-", plain).strip("-")


def sync(session: Session, names: Iterable[str]) -> None:
    """Offer exactly `names`, in this order.

    A section that is no longer named keeps its bit, so that readers who chose it get it back
    with it. Raises InvalidInput when the bits are used up.
    """
    known = {section.slug: section for section in session.scalars(select(Section))}
    for section in known.values():
        section.position = None
    for position, name in enumerate(names):
        slug = slug_of(name)
        if not slug or max(len(name), len(slug)) > LONGEST_NAME:
            raise InvalidInput(
                f"{name!r} is not a section's name of 1 to {LONGEST_NAME} characters.",
                field="SECTIONS",
            )
        if slug not in known:
            if len(known) >= MOST_SECTIONS:
                raise InvalidInput(
                    f"There have been {MOST_SECTIONS} sections already; rename one in the table.",
                    field="SECTIONS",
                )
            known[slug] = Section(id=len(known), slug=slug, name=name)
            session.add(known[slug])
        known[slug].name = name
        known[slug].position = position


def offered(session: Session) -> Sequence[Section]:
    """The sections that readers can choose now, in the newsroom's order."""
    query = select(Section).where(Section.position.is_not(None)).order_by(Section.position)
    return session.scalars(query).all()


def bits_of(session: Session, wanted: Iterable[str]) -> tuple[int, list[str]]:
    """The bits of the named sections (names or slugs), and the names that are not known."""
    known = {section.slug: section.id for section in offered(session)}
    bits, unknown = 0, []
    for name in wanted:
        slug = slug_of(name)
        if slug in known:
            bits |= 1 << known[slug]
        else:
            unknown.append(name)
    return bits, unknown


def choice_bits(session: Session, wanted: Iterable[str]) -> int:
    """The bits of an alert's sections. Raises InvalidInput for a section that is not offered."""
    bits, unknown = bits_of(session, wanted)
    if unknown:
        raise _not_offered(session)
    return bits


def readers_bits(session: Session, wanted: Iterable[str]) -> int:
    """The bits of a reader's choice; sections that were offered once may be among them.

    So a reader all of whose sections have been withdrawn stays apart from one who chose none,
    and wants everything. Raises InvalidInput for what has never been a section.
    """
    known = {section.slug: section.id for section in session.scalars(select(Section))}
    bits = 0
    for slug in map(slug_of, wanted):
        if slug not in known:
            raise _not_offered(session)
        bits |= 1 << known[slug]
    return bits


def slugs_of(session: Session, bits: int) -> list[str]:
    """The sections that a reader's bits stand for; those come last that are no longer offered."""
    order = (Section.position.is_(None), Section.position, Section.id)
    every = session.scalars(select(Section).order_by(*order))
    return [section.slug for section in every if bits >> section.id & 1]


def _not_offered(session: Session) -> InvalidInput:
    slugs = ", ".join(section.slug for section in offered(session))
    return InvalidInput(f"Choose from these sections: {slugs}.", field="sections")
