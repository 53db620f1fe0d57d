"""What came in since a wave began: counts, duplicates, times to acceptance."""

import json
from array import array
from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime
from math import ceil
from typing import Any

from notifier.rehearsal.content_coding import EncryptedBody
from notifier.rehearsal.validation import BodyError, PushError, VapidError

PERCENTILES = (50, 90, 99)
_TOPICS_LISTED = 1000
_COUNT_LIMIT = 255


class Wave:
    """The record of one wave, usually one alert sent to every reader.

    Bodies are encrypted, and only some are read, so whoever sends a second alert begins a second
    wave: within a wave, a second acceptance for one endpoint is a duplicate. Times are monotonic
    seconds. Memory is about 200 bytes for each message with data, for the check that no salt or
    key is used twice.
    """

    def __init__(self, number: int, now: float) -> None:
        self.number = number
        self._decrypted = 0
        self.not_decrypted = 0
        self._started = now
        self._started_at = datetime.now(UTC)
        self._requests = 0
        self._early = 0
        self._withheld = 0
        self._vapid_failures = 0
        self._body_failures = 0
        self._accepted = 0
        self._by_status: Counter[int] = Counter()
        self._by_errno: Counter[int] = Counter()
        self._accepted_by_reader = bytearray()
        self._first_accepted = array("d")
        self._last_accepted: float | None = None
        self._topics: set[str] = set()
        self._versions: Counter[tuple[str | None, str, int]] = Counter()
        self._duplicates_read: Counter[tuple[str | None, str, int]] = Counter()
        self._revision_read: dict[int, int] = {}
        self._stepped_back = 0
        self._with_data = 0
        self._sender_keys: set[int] = set()
        self._salts: set[int] = set()

    def count_request(self) -> None:
        """A push request came in, whatever becomes of it."""
        self._requests += 1

    def count_early(self) -> None:
        """A request came before the time that a Retry-After asked to wait for."""
        self._early += 1

    def count_error(self, error: PushError) -> None:
        """A request was turned down, by a check or by a fault."""
        self._by_status[error.status] += 1
        self._by_errno[error.errno] += 1
        self._vapid_failures += isinstance(error, VapidError)
        self._body_failures += isinstance(error, BodyError)

    def count_accepted(
        self, number: int, topic: str | None, body: EncryptedBody | None, now: float
    ) -> bool:
        """A message for the subscription with this number was accepted; tells if it had one."""
        self._accepted += 1
        self._by_status[201] += 1
        self._last_accepted = now - self._started
        if number >= len(self._accepted_by_reader):
            # Grown in strides, as readers rarely come in the order of their numbers.
            missing = number + 1 - len(self._accepted_by_reader)
            self._accepted_by_reader.extend(bytes(max(missing, 4096)))
        before = self._accepted_by_reader[number]
        if before == 0:
            self._first_accepted.append(now - self._started)
        self._accepted_by_reader[number] = min(before + 1, _COUNT_LIMIT)
        if topic is not None and len(self._topics) < _TOPICS_LISTED:
            self._topics.add(topic)
        if body is not None:
            # 8 random bytes of each tell a million of them apart.
            self._with_data += 1
            self._sender_keys.add(int.from_bytes(body.sender_key[1:9], "big"))
            self._salts.add(int.from_bytes(body.salt[:8], "big"))
        return before > 0

    def count_withheld(self) -> None:
        """A message was accepted, and the sender has no way to know."""
        self._withheld += 1

    def count_read(
        self, number: int, topic: str | None, data: bytes, *, is_duplicate: bool
    ) -> None:
        """A reader could decrypt a message; what it says of itself is noted if it is an alert's."""
        self._decrypted += 1
        try:
            about = json.loads(data)["notification"]["data"]
            version = (topic, str(about["alert"]), int(about["revision"]))
        except (ValueError, TypeError, KeyError):
            return
        self._versions[version] += 1
        self._duplicates_read[version] += is_duplicate
        if version[2] < self._revision_read.get(number, 0):
            self._stepped_back += 1
        else:
            self._revision_read[number] = version[2]

    def accepted_for(self, number: int) -> int:
        """How many messages were accepted for one subscription, counted up to 255."""
        counts = self._accepted_by_reader
        return counts[number] if number < len(counts) else 0

    def report(self, readers: int, gone: Collection[int]) -> dict[str, Any]:
        """All figures, ready for JSON; times in seconds since the wave began.

        readers is the number of subscriptions there are, gone the numbers of those that answer
        404 or 410. `missing` are the readers that accepted nothing; `lost` are those among them
        that are not gone, so it must be 0 when everything is over. `versions` says of which alerts
        the decrypted messages were, and how many of these were duplicates; `stepped_back` counts
        those that came after one with a higher revision for the same reader.
        """
        accepted_readers = len(self._first_accepted)
        missing = readers - accepted_readers
        gone_without = sum(1 for number in gone if not self.accepted_for(number))
        return {
            "wave": self.number,
            "started_at": self._started_at.isoformat(),
            "readers": readers,
            "requests": self._requests,
            "accepted": self._accepted,
            "accepted_readers": accepted_readers,
            "duplicates": self._accepted - accepted_readers,
            "gone": len(gone),
            "missing": missing,
            "lost": missing - gone_without,
            "early": self._early,
            "withheld": self._withheld,
            "by_status": {str(key): n for key, n in sorted(self._by_status.items())},
            "by_errno": {str(key): n for key, n in sorted(self._by_errno.items())},
            "vapid_failures": self._vapid_failures,
            "body_failures": self._body_failures,
            "sample": {"decrypted": self._decrypted, "failed": self.not_decrypted},
            "reused_keys": self._with_data - len(self._sender_keys),
            "reused_salts": self._with_data - len(self._salts),
            "topics": sorted(self._topics),
            "versions": [
                {
                    "topic": topic,
                    "alert": alert,
                    "revision": revision,
                    "read": count,
                    "duplicates": self._duplicates_read[topic, alert, revision],
                }
                for (topic, alert, revision), count in sorted(
                    self._versions.items(), key=lambda item: item[0][1:]
                )
            ],
            "stepped_back": self._stepped_back,
            "first_accepted_after": self._first_accepted[0] if accepted_readers else None,
            "last_accepted_after": self._last_accepted,
            "accepted_within": {str(p): self._percentile(p) for p in PERCENTILES},
        }

    def _percentile(self, percent: int) -> float | None:
        """When this share of the readers that accepted anything had done so."""
        if not self._first_accepted:
            return None
        # In order as they are: each was appended when it happened.
        return self._first_accepted[ceil(len(self._first_accepted) * percent / 100) - 1]
