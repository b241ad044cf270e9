"""What was used last, within bounds by weight: a client must not fill the memory with what it alone asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

V = TypeVar("V")


class Recent:
    """Values by a key whose objects are kept with it: those that were put last, and as many before them."""

    def __init__(self, most: int) -> None:
        """`most` is the weight after which what was put before the last turn is forgotten."""
        self._most = most
        self._now: dict[Any, Any] = {}
        self._before: dict[Any, Any] = {}
        self._weight = 0

    def get(self, key: Any) -> Any:
        found = self._now.get(key)
        return self._before.get(key) if found is None else found

    def put(self, key: Any, value: V, weight: int = 1) -> V:
        self._weight += weight
        if self._weight > self._most:
            self.turn()
            self._weight = weight
        self._now[key] = value
        return value

    def turn(self) -> None:
        """What has been put since the last turn is kept until the next."""
        self._now, self._before, self._weight = {}, self._now, 0


P = ParamSpec("P")
R = TypeVar("R")


def remembered(most: int, weight: Callable[P, int]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Of a function of hashable positional arguments, whose results are never None."""

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        recent = Recent(most)

        @wraps(function)
        def found(*args: P.args, **_: P.kwargs) -> R:
            known: R | None = recent.get(args)
            return recent.put(args, function(*args), weight(*args)) if known is None else known  # type: ignore[call-arg]

        return found

    return decorated
