"""How a reader proves that a subscription is theirs."""

import hmac
from dataclasses import dataclass

from sqlalchemy import ColumnElement

from notifier.endpoints import endpoint_hash
from notifier.errors import InvalidInput
from notifier.keys import token_hash
from notifier.models import Subscription


@dataclass(frozen=True, slots=True)
class Proof:
    """A subscription's management token, or its secrets.

    `p256dh` must be right when it is given.
    """

    endpoint: str | None = None
    auth: bytes | None = None
    management_token: str | None = None
    p256dh: bytes | None = None

    def check_whole(self, *, to_move: bool = False) -> None:
        """Raise InvalidInput for half a proof, a mistake of the caller's.

        Moving a subscription takes all that the browser knew of it.
        """
        if self.management_token is not None:
            return
        secrets = (self.endpoint, self.auth, *([self.p256dh] if to_move else []))
        if None in secrets:
            names = "endpoint, p256dh and auth" if to_move else "endpoint and auth"
            raise InvalidInput(
                f"Prove ownership: send management_token, or {names}.",
                field="old" if to_move else None,
            )

    def condition(self) -> ColumnElement[bool]:
        """The condition that a row may be the one meant; whether it is, `holds_for` says."""
        if self.management_token is not None:
            return Subscription.management_token_hash == token_hash(self.management_token)
        return Subscription.endpoint_hash == endpoint_hash(self.endpoint or "")

    def holds_for(self, row: Subscription) -> bool:
        """Whether this proves the row to be theirs; takes as long whatever is wrong with it."""
        if self.management_token is not None:
            return hmac.compare_digest(
                row.management_token_hash or b"", token_hash(self.management_token)
            )
        given = (endpoint_hash(self.endpoint or ""), self.auth or b"")
        matches = [
            hmac.compare_digest(ours, theirs)
            for ours, theirs in zip((row.endpoint_hash, row.auth), given, strict=True)
        ]
        if self.p256dh is not None:
            matches.append(hmac.compare_digest(row.p256dh, self.p256dh))
        return all(matches)
