"""The texts of the policy language: names, hosts, images, paths. Each refuses with its own code."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from compiler.envoy.numeric import numeric_address

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,38}[a-z0-9])?\Z")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z")
_QUALIFIED_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")
_CLAIM = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_BUCKET = re.compile(r"[a-z0-9][-a-z0-9._]{1,220}[a-z0-9]\Z")
_HF_ID = re.compile(r"[A-Za-z0-9_][-A-Za-z0-9_.]{0,95}(/[A-Za-z0-9_][-A-Za-z0-9_.]{0,95})?\Z")
_HOST = re.compile(r"(\*|(\*\.)?([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)\Z")
_IMAGE = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9._:/]*?(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?\Z")
LONGEST_NAME = 40
LONGEST_IMAGE = 255
OWN_PREFIX = "turnout.dev/"

MODEL_PATH = re.compile(r"(pvc|s3|gs|hf|oci|host)://(\S+)\Z")


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


def quoted(text: str) -> str:
    """`text` in quotes, signs that do not print escaped, cut where it is too long for a message."""
    return repr(text if len(text) <= 60 else text[:57] + "…")


def _name(text: str) -> str:
    if not is_name(text):
        hint = "a shorter name" if len(text) > LONGEST_NAME else "lower-case letters, digits, - and ."
        raise refuse("P115", f"{quoted(text)} is no name: {name_problem(text)}", hint)
    return text


def is_name(text: str) -> bool:
    return bool(_NAME.match(text))


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
        numeric_address(text)
    except ValueError:
        raise refuse("P104", f"{quoted(text)} is no IP address", "127.0.0.1") from None
    return text


def _image(text: str) -> str:
    if len(text) > LONGEST_IMAGE or (found := _IMAGE.match(text)) is None:
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
    if problem := _location_problem(found[1], found[2]):
        raise refuse("P112", f"{quoted(text)} is no model path: {problem}", _MODEL_PATH_EXAMPLES[found[1]])
    return text


_MODEL_PATH_EXAMPLES = {
    "pvc": "pvc://models/llama-70b",
    "s3": "s3://models/llama-70b",
    "gs": "gs://models/llama-70b",
    "hf": "hf://meta-llama/Llama-2-70b-chat-hf",
    "oci": "oci://ghcr.io/acme/llama-70b:1",
    "host": "host:///models/llama",
}


def _location_problem(scheme: str, location: str) -> str:
    """What is wrong with what follows `scheme://`, or nothing."""
    first, _, inside = location.partition("/")
    match scheme:
        case "pvc" if not _CLAIM.match(first):
            return f"{quoted(first)} is no name of a claim: lower-case letters, digits, - and ."
        case "s3" | "gs" if not _BUCKET.match(first):
            return f"{quoted(first)} is no bucket: lower-case letters, digits, - and ., 3 at least"
        case "hf" if not _HF_ID.match(location):
            return f"{quoted(location)} is no id: org/name"
        case "oci" if len(location) > LONGEST_IMAGE or not _IMAGE.match(location):
            return f"{quoted(location)} names no image"
        case "host" if first:
            return "a host path begins with /"
    if scheme in ("pvc", "host") and ".." in inside.split("/"):
        return "'..' leads out of it"
    return ""


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
