"""The body pass as an HTTP filter of Turnout's own Envoys."""

from __future__ import annotations

from envoy.extensions.filters.http.lua.v3 import lua_pb2
from google.protobuf.any_pb2 import Any

from compiler.envoy.request_pass import SCRIPT, settings
from compiler.fleet import Gateway
from xds.translate.messages import packed, struct

FILTER = "envoy.filters.http.lua"


def request_pass() -> lua_pb2.Lua:
    """The same for every gateway: a listener that changes drains its connections, and cuts streams in the end."""
    # The script clears the route cache itself, once it is done.
    return lua_pb2.Lua(default_source_code={"inline_string": SCRIPT}, clear_route_cache={"value": False})


def request_pass_settings(gateway: Gateway) -> dict[str, Any]:
    """What a gateway's virtual host has for the filter."""
    return {FILTER: packed(lua_pb2.LuaPerRoute(filter_context=struct(settings(gateway))))}
