"""The body pass: the Lua filter that reads each request once and tells the routes what it found."""

from __future__ import annotations

from importlib.resources import files

from envoy.extensions.filters.http.lua.v3 import lua_pb2

from compiler.fleet import Field, Gateway, LengthUnit, Orchestrator

MODEL_HEADER = "x-turnout-model"
STREAM_HEADER = "x-turnout-stream"
PROMPT_LENGTH_HEADER = "x-turnout-prompt-length"
MAX_TOKENS_HEADER = "x-turnout-max-tokens"
CAPABILITY_HEADER = "x-turnout-capability"
METADATA_PREFIX = "x-turnout-metadata-"
INTERNAL_PREFIX = "x-turnout-"
SCRIPT = files("xds.translate").joinpath("request.lua").read_text(encoding="utf-8")


def request_pass(gateway: Gateway) -> lua_pb2.Lua:
    source = f"{_settings(gateway.orchestrator)}\n{SCRIPT}"
    # The script clears the route cache itself, once it is done.
    return lua_pb2.Lua(default_source_code={"inline_string": source}, clear_route_cache={"value": False})


def _settings(orchestrator: Orchestrator | None) -> str:
    """What differs between gateways, in one line so that Lua's own errors are one line off."""
    rules = orchestrator.rules if orchestrator else ()
    keys = sorted({c.key for rule in rules for c in rule.conditions if c.field is Field.METADATA})
    wanted = ", ".join(f'["{key}"] = true' for key in keys)
    in_bytes = orchestrator is not None and orchestrator.prompt_length_unit is LengthUnit.BYTES
    return f"local PROMPT_IN_BYTES, METADATA_KEYS = {str(in_bytes).lower()}, {{ {wanted} }}"
