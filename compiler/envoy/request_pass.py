"""The body pass: the Lua script that reads each request once and tells the routes what it found, in headers."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from typing import NamedTuple

from compiler.fleet import Field, Gateway, LengthUnit

MODEL_HEADER = "x-turnout-model"
STREAM_HEADER = "x-turnout-stream"
PROMPT_LENGTH_HEADER = "x-turnout-prompt-length"
MAX_TOKENS_HEADER = "x-turnout-max-tokens"
CAPABILITY_HEADER = "x-turnout-capability"
METADATA_PREFIX = "x-turnout-metadata-"
GATEWAY_HEADER = "x-turnout-gateway"
"""On a shared gateway only: the name of the Gateway whose request it is."""
INTERNAL_PREFIX = "x-turnout-"
SCRIPT = files("compiler.envoy").joinpath("request.lua").read_text(encoding="utf-8")
SHARED_GATEWAY_SCRIPT = files("compiler.envoy").joinpath("shared_gateway.lua").read_text(encoding="utf-8")


class Copy(NamedTuple):
    """A header of a request under another name; `:path` without its query."""

    source: str
    name: str


def source(gateway: Gateway) -> str:
    """The script behind one line of what differs between gateways; lines in Lua's own errors are one off."""
    orchestrator = gateway.orchestrator
    rules = orchestrator.rules if orchestrator else ()
    keys = sorted({c.key for rule in rules for c in rule.conditions if c.field is Field.METADATA})
    wanted = ", ".join(f'["{key}"] = true' for key in keys)
    in_bytes = gateway.length_unit is LengthUnit.BYTES
    renames = orchestrator is not None and orchestrator.fallback.takes_unknown_names
    settings = {
        "PROMPT_IN_BYTES": str(in_bytes).lower(),
        "METADATA_KEYS": f"{{ {wanted} }}",
        "TELL_MODEL_AT": str(renames).lower(),
    }
    return f"local {', '.join(settings)} = {', '.join(settings.values())}\n{SCRIPT}"


def shared_gateway_source(gateway: Gateway, copies: Iterable[Copy]) -> str:
    """The same where nobody but the script keeps a client's internal headers out, and makes `copies`."""
    listed = ", ".join(f'{{ "{copy.source}", "{copy.name}" }}' for copy in copies)
    settings = f'local INTERNAL_PREFIX, GATEWAY, COPIES = "{INTERNAL_PREFIX}", "{gateway.name}", {{ {listed} }}'
    return f"{source(gateway)}\n{settings}\n{SHARED_GATEWAY_SCRIPT}"
