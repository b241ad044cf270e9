"""The body pass: the Lua script that reads each request once and tells the routes what it found, in headers."""

from __future__ import annotations

from importlib.resources import files

from compiler.fleet import Field, Gateway, LengthUnit

MODEL_HEADER = "x-turnout-model"
STREAM_HEADER = "x-turnout-stream"
PROMPT_LENGTH_HEADER = "x-turnout-prompt-length"
MAX_TOKENS_HEADER = "x-turnout-max-tokens"
CAPABILITY_HEADER = "x-turnout-capability"
METADATA_PREFIX = "x-turnout-metadata-"
INTERNAL_PREFIX = "x-turnout-"
SCRIPT = files("compiler.envoy").joinpath("request.lua").read_text(encoding="utf-8")


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
