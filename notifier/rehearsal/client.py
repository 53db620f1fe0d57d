"""A client of the push service's control API, for the rehearsal and for tests."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import requests

_CONNECT = timedelta(seconds=5)
_ANSWER = timedelta(seconds=60)


class PushServiceControl:
    """Talks to one push service. Every method raises requests.RequestException on failure."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self._session = requests.Session()
        # A proxy of the environment must never stand between us and this machine.
        self._session.trust_env = False

    def __enter__(self) -> "PushServiceControl":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def add_readers(
        self,
        count: int,
        *,
        vapid_public_key: str | None = None,
        seed: str | int | None = None,
        keep: bool = False,
    ) -> Iterator[dict[str, Any]]:
        """Add simulated readers at once; gives their subscriptions as they arrive.

        The key is base64url. Read the subscriptions to the end, or the connection stays in use.
        """
        order = {"count": count, "vapid_public_key": vapid_public_key, "seed": seed, "keep": keep}
        response = self._request(
            "POST", "readers", json=order, headers={"Accept": "application/x-ndjson"}, stream=True
        )
        return _read_lines(response)

    def forget_readers(self) -> None:
        """Have the push service forget all subscriptions and faults."""
        self._json("POST", "readers/forget")

    def set_faults(self, rules: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Replace the fault rules (see FaultRule); gives them with the count under each."""
        listed: list[dict[str, Any]] = self._json("POST", "faults", json=list(rules))
        return listed

    def faults(self) -> list[dict[str, Any]]:
        """The fault rules, each with the list of the endpoints that it covers."""
        listed: list[dict[str, Any]] = self._json("GET", "faults", params={"endpoints": "1"})
        return listed

    def begin_wave(self) -> int:
        """Have the report count from now; gives the wave's number."""
        return int(self._json("POST", "waves")["wave"])

    def report(self) -> dict[str, Any]:
        """The present wave's report (see Wave.report)."""
        report: dict[str, Any] = self._json("GET", "report")
        return report

    def missing(self) -> list[str]:
        """The endpoints for which nothing was accepted in the present wave."""
        listed: list[str] = self._json("GET", "missing")
        return listed

    def messages(self, endpoint: str) -> list[dict[str, Any]]:
        """What an endpoint in the sample, or whose messages are kept, received."""
        listed: list[dict[str, Any]] = self._json("GET", "messages", params={"endpoint": endpoint})
        return listed

    def browsers(self) -> list[dict[str, Any]]:
        """The browsers that have connected, and their subscriptions."""
        listed: list[dict[str, Any]] = self._json("GET", "browsers")
        return listed

    def forget_browsers(self) -> None:
        """Have the push service lose all browsers: they must subscribe again."""
        self._json("POST", "browsers/forget")

    def _json(self, method: str, route: str, **options: Any) -> Any:
        with self._request(method, route, **options) as response:
            return response.json()

    def _request(self, method: str, route: str, **options: Any) -> requests.Response:
        response = self._session.request(
            method,
            f"{self.origin}/control/{route}",
            timeout=(_CONNECT.total_seconds(), _ANSWER.total_seconds()),
            **options,
        )
        if not response.ok:
            reason = response.text
            response.close()
            raise requests.HTTPError(f"the push service answered {response.status_code}: {reason}")
        return response


def _read_lines(response: requests.Response) -> Iterator[dict[str, Any]]:
    with response:
        for line in response.iter_lines(chunk_size=1 << 16):
            yield json.loads(line)
