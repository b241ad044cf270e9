"""The name in the body of a request for a model that nobody has, where the fallback chain answers such requests, too.

An engine answers 404 to a name that it was not started with, and nobody can start one with every name there is. So the
orchestrator's name, which each of its members knows, takes the unknown name's place.
"""

from __future__ import annotations

from envoy.extensions.filters.http.lua.v3 import lua_pb2
from google.protobuf.any_pb2 import Any

from compiler.fleet import Gateway
from xds.translate.messages import packed

FILTER = "turnout.renaming"
"""A filter of its own, behind the body pass: only then is the route known whose configuration holds the script."""
_SCRIPT = """
function envoy_on_request(handle)
  local told = handle:streamInfo():dynamicMetadata():get("turnout")
  local at = told and told.model_at
  if at then
    local body = handle:body()
    local text = body:getBytes(0, body:length())
    local length = body:setBytes(text:sub(1, at.from - 1) .. '"{name}"' .. text:sub(at.to + 1))
    if handle:headers():get("content-length") then
      handle:headers():replace("content-length", tostring(length))
    end
  end
end
"""


def renames(gateway: Gateway) -> bool:
    return gateway.orchestrator is not None and gateway.orchestrator.fallback.takes_unknown_names


def renaming(_: Gateway) -> lua_pb2.Lua:
    """Without a script of its own: routes have it."""
    return lua_pb2.Lua()


def renaming_route(gateway: Gateway) -> dict[str, Any]:
    """What the route for unknown names has for the filter."""
    assert gateway.orchestrator is not None
    script = _SCRIPT.replace("{name}", gateway.orchestrator.name)
    return {FILTER: packed(lua_pb2.LuaPerRoute(source_code={"inline_string": script}))}
