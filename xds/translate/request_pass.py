"""The body pass: the Lua filter that reads each request once and tells the routes what it found."""

from __future__ import annotations

from importlib.resources import files

from envoy.extensions.filters.http.lua.v3 import lua_pb2

MODEL_HEADER = "x-turnout-model"
STREAM_HEADER = "x-turnout-stream"
INTERNAL_PREFIX = "x-turnout-"
SCRIPT = files("xds.translate").joinpath("request.lua").read_text(encoding="utf-8")


def request_pass() -> lua_pb2.Lua:
    # The script clears the route cache itself, once it is done.
    return lua_pb2.Lua(default_source_code={"inline_string": SCRIPT}, clear_route_cache={"value": False})
