"""Push messages: encrypted, signed, sent to the browsers' push services, and what became of them.

The only package that speaks to push services.
"""

from notifier.push.exchange import PushRequest
from notifier.push.message import MAX_PLAINTEXT, encrypt, encrypt_all, pad
from notifier.push.outcome import (
    Accepted,
    Answer,
    Gone,
    Outcome,
    Rejected,
    Throttled,
    Unreachable,
    outcome_of,
)
from notifier.push.sender import NOT_SENT, URGENCIES, Message, Sender, Target
from notifier.push.transport import Transport
from notifier.push.vapid import (
    UnknownVapidKeyError,
    UnreadableVapidKeyError,
    VapidKey,
    VapidSigner,
    check_subject,
)

__all__ = [
    "MAX_PLAINTEXT",
    "NOT_SENT",
    "URGENCIES",
    "Accepted",
    "Answer",
    "Gone",
    "Message",
    "Outcome",
    "PushRequest",
    "Rejected",
    "Sender",
    "Target",
    "Throttled",
    "Transport",
    "UnknownVapidKeyError",
    "Unreachable",
    "UnreadableVapidKeyError",
    "VapidKey",
    "VapidSigner",
    "check_subject",
    "encrypt",
    "encrypt_all",
    "outcome_of",
    "pad",
]
