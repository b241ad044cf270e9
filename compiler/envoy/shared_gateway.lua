-- Around the pass, on a gateway whose listeners and filters are not Turnout's own.
--
-- Nobody has removed a client's own internal headers before this: it is done here, first. The request's method, headers
-- with odd names and those that one rule asks about twice are copied to headers of their own: a VirtualService can look at
-- a header once.
--
-- What differs between gateways is set in front of this text: INTERNAL_PREFIX; GATEWAY, told in a header by which error
-- bodies know requests of Turnout's hosts; COPIES as a list of {from, to}.

local pass = envoy_on_request

local function internal_names(headers)
  local names = {}
  for name in pairs(headers) do
    if name:sub(1, #INTERNAL_PREFIX) == INTERNAL_PREFIX then
      names[#names + 1] = name -- removed later: nothing may change while they are gone through
    end
  end
  return names
end

local function value_to_copy(headers, name)
  local value = headers:get(name)
  if name == INTERNAL_PREFIX .. "model" and value == "" then
    return nil -- a request that names no model has none
  end
  return value
end

function envoy_on_request(handle)
  local headers = handle:headers()
  for _, name in ipairs(internal_names(headers)) do
    headers:remove(name)
  end
  headers:add(INTERNAL_PREFIX .. "gateway", GATEWAY)
  pass(handle) -- ends here with a request that it has answered
  headers = handle:headers() -- the old ones are not to be used after the body has been waited for
  for _, copy in ipairs(COPIES) do
    local value = value_to_copy(headers, copy[1])
    if value then
      headers:add(copy[2], value)
    end
  end
  handle:clearRouteCache()
end
