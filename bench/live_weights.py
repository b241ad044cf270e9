"""A weight set in a running server. All that the benchmarks know of that interface stands here."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path

from bench.fleets import LEAST, STEP, VERSIONS, model_name


class LiveWeights:
    """Of one model, as a rollout does it: step by step, each step another value, and none that policy ever has."""

    def __init__(self, token_file: Path) -> None:
        self.token_file = token_file
        self._token = secrets.token_urlsafe()
        self._share = LEAST
        token_file.touch(0o600)
        token_file.write_text(self._token)

    @property
    def serve_options(self) -> tuple[str, ...]:
        """For `turnout serve`, so that it takes weights from whoever has the token."""
        return ("--admin-token-file", str(self.token_file))

    def shift(self, admin: str) -> None:
        """Raises RuntimeError when it is refused."""
        self._share = self._share - STEP if self._share > STEP else LEAST - STEP
        weights = dict(zip(VERSIONS, (self._share, 100 - self._share), strict=True))
        wish = {"model": model_name(0), "weights": weights, "for": "15m", "why": "bench"}
        status, said = self._post(admin, wish)
        if status >= 300:
            raise RuntimeError(f"POST /weights: {status} {said}")

    def _post(self, admin: str, wish: Mapping[str, object]) -> tuple[int, str]:
        connection = HTTPConnection(admin, timeout=10)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            connection.request("POST", "/weights", json.dumps(wish), headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()
