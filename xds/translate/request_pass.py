"""The body pass as an HTTP filter of Turnout's own Envoys."""

from __future__ import annotations

from envoy.extensions.filters.http.lua.v3 import lua_pb2

from compiler.envoy.request_pass import source
from compiler.fleet import Gateway


def request_pass(gateway: Gateway) -> lua_pb2.Lua:
    # The script clears the route cache itself, once it is done.
    return lua_pb2.Lua(default_source_code={"inline_string": source(gateway)}, clear_route_cache={"value": False})
