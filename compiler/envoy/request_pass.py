"""The body pass: the Lua script that reads each request once and tells the routes what it found, in headers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import NamedTuple

from compiler.fleet import Field, Gateway, LengthUnit

MODEL_HEADER = "x-turnout-model"
STREAM_HEADER = "x-turnout-stream"
PROMPT_LENGTH_HEADER = "x-turnout-prompt-length"
MAX_TOKENS_HEADER = "x-turnout-max-tokens"
CAPABILITY_HEADER = "x-turnout-capability"
METADATA_PREFIX = "x-turnout-metadata-"
PATH_HEADER = "x-turnout-path"
GATEWAY_HEADER = "x-turnout-gateway"
"""On a shared gateway only: the name of the Gateway whose request it is."""
INTERNAL_PREFIX = "x-turnout-"
"""Of headers that a client cannot set."""
NO_CLUSTER_HEADER = f"{INTERNAL_PREFIX}cluster"
"""Which no request has: a route to the cluster that it names leads nowhere."""
SCRIPT = files("compiler.envoy").joinpath("request.lua").read_text(encoding="utf-8")
SHARED_GATEWAY_SCRIPT = files("compiler.envoy").joinpath("shared_gateway.lua").read_text(encoding="utf-8")


class Copy(NamedTuple):
    """A header of a request under another name."""

    source: str
    name: str


Settings = Mapping[str, bool | Mapping[str, bool]]


def settings(gateway: Gateway) -> Settings:
    """What differs between gateways; the script says what each is for."""
    orchestrator = gateway.orchestrator
    rules = orchestrator.rules if orchestrator else ()
    conditions = [condition for rule in rules for condition in rule.conditions]
    keys = sorted({c.key for c in conditions if c.field is Field.METADATA})
    return {
        "prompt_in_bytes": gateway.length_unit is LengthUnit.BYTES,
        "metadata_keys": dict.fromkeys(keys, True),
        "tell_path": any(condition.field is Field.PATH for condition in conditions),
        "tell_model_at": orchestrator is not None and orchestrator.fallback.takes_unknown_names,
    }


def source(gateway: Gateway) -> str:
    """The script with its settings in one line in front; lines in Lua's own errors are one off."""
    return f"local SETTINGS = {_lua(settings(gateway))}\n{SCRIPT}"


def _lua(value: bool | Settings) -> str:
    """Keys are names of policy, which need no escapes."""
    if isinstance(value, bool):
        return str(value).lower()
    return "{ " + ", ".join(f'["{key}"] = {_lua(inner)}' for key, inner in value.items()) + " }"


def shared_gateway_source(gateway: Gateway, copies: Iterable[Copy]) -> str:
    """The same where nobody but the script keeps a client's internal headers out, and makes `copies`."""
    listed = ", ".join(f'{{ "{copy.source}", "{copy.name}" }}' for copy in copies)
    shared = f'local INTERNAL_PREFIX, GATEWAY, COPIES = "{INTERNAL_PREFIX}", "{gateway.name}", {{ {listed} }}'
    return f"{source(gateway)}\n{shared}\n{SHARED_GATEWAY_SCRIPT}"
