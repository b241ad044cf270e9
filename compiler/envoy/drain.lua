-- GET /drain?least=15 in a gateway's pod: the kubelet asks before it ends Envoy, and ends it when it is answered.
--
-- From now on Envoy says that it is not ready, and tells each client after its answer to connect anew. It goes on
-- answering whoever comes: who balances the load hears of a pod's end at the same time as the pod, and acts later.
-- The answer comes when no request is under way, and `least` seconds have passed. How long it may take at most is the
-- pod's terminationGracePeriodSeconds.

local ADMIN, SELF = "turnout_admin", "turnout_drain"
local PATIENCE = 5000 -- ms

local function call(handle, cluster, method, path)
  local headers, body = handle:httpCall(
    cluster, { [":method"] = method, [":path"] = path, [":authority"] = "turnout" }, nil, PATIENCE)
  return headers[":status"] == "200", body or ""
end

-- Lines are `http.public-8080.downstream_rq_active: 3`. Envoy's own have an underscore, as no gateway's name has.
local function under_way(text)
  for prefix, count in text:gmatch("http%.([^\n]-)%.downstream_rq_active: (%d+)") do
    if count ~= "0" and prefix ~= "admin" and not prefix:find("_", 1, true) then
      return true
    end
  end
  return false
end

function envoy_on_request(handle)
  local path = handle:headers():get(":path")
  if path:match("^[^?]*") ~= "/drain" or handle:headers():get(":method") ~= "GET" then
    return
  end
  local least = tonumber(path:match("[?&]least=(%d+)")) or 0
  call(handle, ADMIN, "POST", "/healthcheck/fail")
  local waited, known, text = 0, call(handle, ADMIN, "GET", "/stats?filter=downstream_rq_active$")
  -- Who cannot tell does not wait for ever.
  while waited < least or (known and under_way(text)) do
    if not call(handle, SELF, "GET", "/wait") then
      return
    end
    waited = waited + 1
    known, text = call(handle, ADMIN, "GET", "/stats?filter=downstream_rq_active$")
  end
end
