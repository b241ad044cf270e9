"""The scalar types of the policy language: durations, quantities, names. Each refuses with its own code."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h)\Z")
_UNIT = {"ms": timedelta(milliseconds=1), "s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?\Z")
_DECIMAL = {"m": Decimal("0.001"), "": Decimal(1)} | {unit: Decimal(1000) ** n for n, unit in enumerate("kMGTP", 1)}
_BINARY = {f"{unit}i": Decimal(1024) ** n for n, unit in enumerate("KMGTP", 1)}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,38}[a-z0-9])?\Z")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z")
_QUALIFIED_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")
_HOST = re.compile(r"(\*|(\*\.)?([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)\Z")
_IMAGE = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9._:/]*?(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?\Z")
LONGEST_NAME = 40
OWN_PREFIX = "turnout.dev/"

MODEL_PATH = re.compile(r"(pvc|s3|gs|hf|oci|host)://(\S+)\Z")


def camel_case(field: str) -> str:
    """`max_seq_len` as policy spells it: `maxSeqLen`. Digits keep the case of what follows: `consecutive5xxErrors`."""
    first, *others = field.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others)


class Part(BaseModel):
    """A map in a policy. Unknown keys are refused; values are never converted from another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=camel_case)


def later(description: str, **constraints: Any) -> Any:
    """A field whose effect comes with a later version: accepted, checked, and answered with P116."""
    return Field(
        default=None, description=f"{description} No effect yet.", json_schema_extra={"x-later": True}, **constraints
    )


def refuse(code: str, message: str, hint: str = "") -> PydanticCustomError:
    # Pydantic fills braces of the message from the context; policy text may hold braces of its own.
    return PydanticCustomError(code, "{message}", {"message": message, "hint": hint})


@dataclass(frozen=True, slots=True)
class Shape:
    """Text that `pattern` matches; any other is answered with `'…' is {what}` and `example`."""

    pattern: str
    what: str
    example: str
    code: str = "P104"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "pattern": self.pattern.replace("\\Z", "$"), "examples": [self.example]}

    def _checked(self, text: str) -> str:
        if not re.search(self.pattern, text):
            raise refuse(self.code, f"{quoted(text)} is {self.what}", self.example)
        return text


def _positive(duration: timedelta) -> timedelta:
    if not duration:
        raise refuse("P104", "0s is out of range: more than 0s")
    return duration


def quoted(text: str) -> str:
    """`text` in quotes, signs that do not print escaped, cut where it is too long for a message."""
    return repr(text if len(text) <= 60 else text[:57] + "…")


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
    text = str(value)
    found = _QUANTITY.match(text)
    if found is None:
        raise refuse("P104", f"{quoted(text)} is no quantity", "32Gi, 500m or 8")
    return Decimal(found[1]) * (_DECIMAL | _BINARY)[found[2] or ""]


def _whole_bytes(number: Decimal) -> int:
    if number != number.to_integral_value():
        raise refuse("P104", f"{number} bytes are no whole number", "32Gi")
    return int(number)


def _whole_millicores(number: Decimal) -> int:
    if not number:
        raise refuse("P104", "0 is out of range: more than 0", "500m or 8")
    if number * 1000 != (number * 1000).to_integral_value():
        raise refuse("P104", f"{number} cores are finer than 1m", "500m or 8")
    return int(number * 1000)


def bytes_text(size: int) -> str:
    """`size` in the largest binary unit that keeps it whole."""
    for unit in reversed(_BINARY):
        if size and size % int(_BINARY[unit]) == 0:
            return f"{size // int(_BINARY[unit])}{unit}"
    return str(size)


def cores_text(millicores: int) -> str:
    return f"{millicores}m" if millicores % 1000 else str(millicores // 1000)


def _name(text: str) -> str:
    if not _NAME.match(text):
        hint = "a shorter name" if len(text) > LONGEST_NAME else "lower-case letters, digits, - and ."
        raise refuse("P115", f"{quoted(text)} is no name: {name_problem(text)}", hint)
    return text


def name_problem(text: str) -> str:
    if not text:
        return "it is empty"
    if len(text) > LONGEST_NAME:
        return f"it has {len(text):,} characters, {LONGEST_NAME} are the limit"
    if not text[0].isascii() or not (text[0].isdigit() or text[0].islower()):
        return f"it begins with {text[0]!r}"
    bad = next((c for c in text if not (c.isascii() and (c.isdigit() or c.islower() or c in "-."))), None)
    return f"it ends with {text[-1]!r}" if bad is None else f"it holds {bad!r}"


def _namespace(text: str) -> str:
    if not _NAMESPACE.match(text):
        said = f"{quoted(text)} is no name: a namespace has lower-case letters, digits and -, 63 at most"
        raise refuse("P115", said, "ai-inference")
    return text


def _label_value(text: str) -> str:
    if _LABEL_VALUE.match(text):
        return text
    if len(text) > 63:
        why = f"{len(text)} characters, 63 are the limit"
    else:
        bad = next((c for c in text if not (c.isascii() and (c.isalnum() or c in "-_."))), None)
        why = f"it holds {bad!r}" if bad else "it begins or ends with a sign"
    raise refuse("P108", f"Kubernetes refuses label value {quoted(text)}: {why}", "annotations take any text")


def _metadata_key(text: str) -> str:
    prefix, slash, name = text.rpartition("/")
    if text.startswith(OWN_PREFIX):
        raise refuse("P115", f"{quoted(text)} is no name: {OWN_PREFIX} is Turnout's own", "a prefix of yours")
    if not _QUALIFIED_NAME.match(name) or (slash and not _PREFIX.match(prefix)):
        raise refuse("P115", f"{quoted(text)} is no name: Kubernetes takes [prefix/]name", "team, or example.com/team")
    return text


def _host(text: str) -> str:
    if not _HOST.match(text) or len(text) > 253:
        raise refuse("P115", f"{quoted(text)} is no name: a host is a domain, *.domain or *", "inference.example.com")
    return text


def _address(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise refuse("P104", f"{quoted(text)} is no IP address", "127.0.0.1") from None
    return text


def _image(text: str) -> str:
    found = _IMAGE.match(text)
    if found is None or len(text) > 255:
        raise refuse("P109", f"{quoted(text)} is not pinned: it names no image", "registry/name:tag or name@sha256:…")
    tag = found[1]
    if found[2] is None and tag in (None, ":latest"):
        why = "':latest' moves" if tag else "it has no tag"
        raise refuse("P109", f"{quoted(text)} is not pinned: {why}", "tag or digest")
    return text


def _model_path(text: str) -> str:
    found = MODEL_PATH.match(text)
    if found is None:
        raise refuse("P112", f"{quoted(text)} is no model path", "pvc:// s3:// gs:// hf:// oci:// or host://")
    if found[1] == "host" and not found[2].startswith("/"):
        raise refuse("P112", f"{quoted(text)} is no model path: a host path begins with /", "host:///models/llama")
    return text


_QUANTITY_PATTERN = "^" + _QUANTITY.pattern.replace("\\Z", "$")
_QUANTITY_SCHEMA = {"anyOf": [{"type": "string", "pattern": _QUANTITY_PATTERN}, {"type": "number"}]}

Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(duration_text),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$", "examples": ["500ms", "30s", "5m", "1h"]}),
]
Positive = Annotated[Duration, AfterValidator(_positive)]
Bytes = Annotated[
    int,
    BeforeValidator(lambda value: _whole_bytes(n) if isinstance(n := parse_quantity(value), Decimal) else n),
    PlainSerializer(bytes_text),
    WithJsonSchema({**_QUANTITY_SCHEMA, "examples": ["32Gi"]}),
]
Cores = Annotated[
    int,
    BeforeValidator(lambda value: _whole_millicores(n) if isinstance(n := parse_quantity(value), Decimal) else n),
    PlainSerializer(cores_text),
    WithJsonSchema({**_QUANTITY_SCHEMA, "examples": ["8", "500m"]}),
]
Percent = Annotated[int, Field(ge=0, le=100)]
Token = Annotated[
    str,
    Shape(
        r"^[-!#$%&'*+.^_`|~0-9A-Za-z]+\Z", "no name that HTTP takes: letters, digits and - _ .", "x-session-id", "P115"
    ),
]
"""The name of a header or cookie."""
UrlPath = Annotated[str, Shape(r"^/[!-~]*\Z", "no path: it begins with / and has no spaces", "/health")]
Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=0, le=1000)]
Name = Annotated[str, AfterValidator(_name)]
Namespace = Annotated[str, AfterValidator(_namespace)]
Text = Annotated[str, Field(min_length=1)]
LabelValue = Annotated[str, AfterValidator(_label_value)]
MetadataKey = Annotated[str, AfterValidator(_metadata_key)]
HostName = Annotated[str, AfterValidator(_host)]
Address = Annotated[str, AfterValidator(_address)]
Image = Annotated[str, AfterValidator(_image)]
ModelPathText = Annotated[str, AfterValidator(_model_path)]


class SecretRef(Part):
    """Names a secret; its value never stands in policy."""

    name: Name
    """The Kubernetes Secret; for Turnout's own Envoys, the folder of that name on their machine."""
    key: Text | None = None
    """An entry of it, where one is meant."""


class Metadata(Part):
    name: Name
    """Unique among policies of its kind."""
    namespace: Namespace | None = None
    """Of the objects rendered from this policy. Default: Platform's."""
    labels: dict[MetadataKey, LabelValue] = {}
    """Put on every object rendered from this policy."""
    annotations: dict[MetadataKey, str] = {}
    """Put on every object rendered from this policy; any text may be their value."""


class Document(Part):
    """What every policy document begins with."""

    api_version: Literal["turnout.dev/v1"]
    """The version of the policy language."""
    kind: str
    """What the document describes."""
    metadata: Metadata
    """Its name, and what Kubernetes is told with every object made of it."""
