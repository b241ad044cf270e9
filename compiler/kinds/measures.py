"""The measures of the policy language: durations, bytes and cores, each with the most that may be meant."""

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from compiler.kinds.values import quoted, refuse
from compiler.quantity import bytes_text, cores_text

_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h)\Z")
_UNIT = {"ms": timedelta(milliseconds=1), "s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?\Z")
_DECIMAL = {"m": Decimal("0.001"), "": Decimal(1)} | {unit: Decimal(1000) ** n for n, unit in enumerate("kMGTP", 1)}
_BINARY = {f"{unit}i": Decimal(1024) ** n for n, unit in enumerate("KMGTP", 1)}
_UNITS = _DECIMAL | _BINARY
MOST_BYTES = 64 * 2**40
MOST_CORES = 1024


def _at_most(hours: int) -> Callable[[timedelta], timedelta]:
    most = timedelta(hours=hours)

    def checked(duration: timedelta) -> timedelta:
        if duration > most:
            raise refuse("P104", f"{duration_text(duration)} is out of range: at most {hours}h")
        return duration

    return checked


def _at_most_minutes(minutes: int) -> Callable[[timedelta], timedelta]:
    most = timedelta(minutes=minutes)

    def checked(duration: timedelta) -> timedelta:
        if duration > most:
            raise refuse("P104", f"{duration_text(duration)} is out of range: at most {minutes}m")
        return duration

    return checked


def _positive(duration: timedelta) -> timedelta:
    if not duration:
        raise refuse("P104", "0s is out of range: more than 0s")
    return duration


def parse_duration(text: object) -> object:
    if not isinstance(text, str):
        return text  # the type check that follows says what is wrong
    found = _DURATION.match(text)
    if found is None:
        raise refuse("P105", f"{quoted(text)} is no duration", "60s, not 1min")
    return int(found[1]) * _UNIT[found[2]]


def duration_text(duration: timedelta) -> str:
    """`duration` in its largest whole unit: `5m`, `90s`, `0s`."""
    milliseconds = duration // timedelta(milliseconds=1)
    for unit in ("h", "m", "s"):
        size = _UNIT[unit] // timedelta(milliseconds=1)
        if milliseconds % size == 0 and (milliseconds or unit == "s"):
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def parse_quantity(value: object) -> object:
    """A Kubernetes quantity as an exact number of bytes, or of thousandths for `cpu`."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    return _quantity(str(value))


@lru_cache(maxsize=1 << 10)  # the models of a fleet have few between them
def _quantity(text: str) -> Decimal:
    found = _QUANTITY.match(text)
    if found is None:
        raise refuse("P104", f"{quoted(text)} is no quantity", "32Gi, 500m or 8")
    return Decimal(found[1]) * _UNITS[found[2] or ""]


def _whole_bytes(number: Decimal) -> int:
    if number != number.to_integral_value():
        raise refuse("P104", f"{number} bytes are no whole number", "32Gi")
    return int(number)


def _whole_millicores(number: Decimal) -> int:
    if not number:
        raise refuse("P104", "0 is out of range: more than 0", "500m or 8")
    if number > MOST_CORES:
        raise refuse("P104", f"{number} cores are out of range: at most {MOST_CORES}", "500m or 8")
    if number * 1000 != (number * 1000).to_integral_value():
        raise refuse("P104", f"{number} cores are finer than 1m", "500m or 8")
    return int(number * 1000)


_QUANTITY_PATTERN = "^" + _QUANTITY.pattern.replace("\\Z", "$")
_QUANTITY_SCHEMA = {"anyOf": [{"type": "string", "pattern": _QUANTITY_PATTERN}, {"type": "number"}]}

_Span = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(duration_text),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$", "examples": ["500ms", "30s", "5m", "1h"]}),
]
# Without a bound, Envoy refuses the whole route table for one long timeout, and Kubernetes the Deployment.
Duration = Annotated[_Span, AfterValidator(_at_most(hours=8760))]
Positive = Annotated[Duration, AfterValidator(_positive)]
PositiveUpToADay = Annotated[_Span, AfterValidator(_at_most(hours=24)), AfterValidator(_positive)]
UpToAnHour = Annotated[_Span, AfterValidator(_at_most(hours=1))]
PositiveUpToHalfAnHour = Annotated[_Span, AfterValidator(_at_most_minutes(30)), AfterValidator(_positive)]
PositiveUpToAnHour = Annotated[_Span, AfterValidator(_at_most(hours=1)), AfterValidator(_positive)]
Bytes = Annotated[
    int,
    BeforeValidator(lambda value: _whole_bytes(n) if isinstance(n := parse_quantity(value), Decimal) else n),
    PlainSerializer(bytes_text),
    WithJsonSchema({**_QUANTITY_SCHEMA, "examples": ["32Gi"]}),
    Field(le=MOST_BYTES),
]
Cores = Annotated[
    int,
    BeforeValidator(lambda value: _whole_millicores(n) if isinstance(n := parse_quantity(value), Decimal) else n),
    PlainSerializer(cores_text),
    WithJsonSchema({**_QUANTITY_SCHEMA, "examples": ["8", "500m"]}),
]
