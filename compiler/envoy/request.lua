-- One pass over a request: which model it asks for and whether it wants a stream, told to the routes in headers.
--
--   x-turnout-model    header `model-name`, else path `/v1/models/{name}`, else `model` in a JSON body; empty where a
--                      request to an OpenAI path names none, absent where any other does
--   x-turnout-stream   `true` for `"stream": true` in the body, else absent
--   x-turnout-prompt-length   code points of all text of the prompt, or bytes where policy says so; absent without one
--   x-turnout-max-tokens      `max_tokens`, else `max_completion_tokens`, where that is a whole number
--   x-turnout-capability      what header `x-capability` and body `capabilities` ask for: `,chat,code,`
--   x-turnout-metadata-<key>  those entries of the body's `metadata` that rules look at
--   x-turnout-path            the path without its query, where a rule looks at it
--
-- A client's own headers of these names have been removed before. A request that has not come through here has none of
-- them, and so no route to a model.
-- The body is read as JSON in full, so that no engine sees what the routes were not chosen by.
--
-- What differs between gateways is a table: `prompt_in_bytes`; `metadata_keys` as {key = true}; `tell_model_at`, with
-- which dynamic metadata says where in the body the model's name stands; `tell_path`. It is SETTINGS, where that has been
-- set in front of this text; else it is the route table's to say, so that rules change without a change of the listener.

local byte, char, find, format, sub = string.byte, string.char, string.find, string.format, string.sub

local OPENAI_PATHS = { ["/v1/chat/completions"] = true, ["/v1/completions"] = true, ["/v1/embeddings"] = true }

-- Top-level keys of the body that are looked at; `top_level_spans` tells where the value of each stands.
local WANTED = {
  model = true,
  stream = true,
  max_tokens = true,
  max_completion_tokens = true,
  capabilities = true,
  metadata = true,
}

-- Which strings are text of the prompt: `text`, the value itself; `each`, the items of a list; `members`, by key.
local TEXT = { text = true }
local TEXTS = { text = true, each = TEXT }
local CONTENT = { text = true, each = { members = { text = TEXT } } }
local PROMPTS = { messages = { each = { members = { content = CONTENT } } }, prompt = TEXTS, input = TEXTS }

local MAX_DEPTH = 100
local MOST_CAPABILITIES, MOST_CAPABILITY_BYTES = 64, 40
local MOST_VALUE_BYTES = 256 -- a policy's names are much shorter; the rest of a longer one is of no use in an answer

local QUOTE, BACKSLASH, COMMA, COLON = 34, 92, 44, 58
local PLUS, MINUS, POINT, ZERO, NINE, CAPITAL_E, LETTER_E, LETTER_U = 43, 45, 46, 48, 57, 69, 101, 117
local OPEN_BRACKET, CLOSE_BRACKET, OPEN_BRACE, CLOSE_BRACE = 91, 93, 123, 125
local LITERALS = { [byte("t")] = "true", [byte("f")] = "false", [byte("n")] = "null" }
local ESCAPES = { -- by the letter after the backslash
  [byte("b")] = "\b",
  [byte("f")] = "\f",
  [byte("n")] = "\n",
  [byte("r")] = "\r",
  [byte("t")] = "\t",
  [byte("/")] = "/",
  [BACKSLASH] = "\\",
  [QUOTE] = '"',
}

-- Of the request that is being read. Nothing that reads them waits, so no other request comes between.
local in_bytes, metadata_keys, tell_model_at

local function settings_of(handle)
  if SETTINGS then
    return SETTINGS
  end
  local context, settings = handle:filterContext(), {}
  for _, name in ipairs({ "prompt_in_bytes", "metadata_keys", "tell_model_at", "tell_path" }) do
    settings[name] = context:get(name)
  end
  return settings
end

-- A refusal is thrown as a table; whatever else is thrown is a fault of this script.
local function refuse(code, param, message)
  error({ code = code, param = param, message = message }, 0)
end

local function malformed(what, position)
  refuse("invalid_json", "null", format("The request body is not valid JSON: %s at byte %d", what, position))
end

-- The scanner. Each function takes the text and the position where something begins, and returns where it is over, and
-- of strings, lists and maps also how much text of the prompt is in them: `visit`, one of the above, says where to look.
-- It looks at single bytes and uses no patterns: LuaJIT compiles the one and not the other, a factor of ten.

local function skip_space(text, position)
  local current = byte(text, position)
  while current == 32 or current == 10 or current == 13 or current == 9 do
    position = position + 1
    current = byte(text, position)
  end
  return position
end

local function is_digit(code)
  return code and code >= ZERO and code <= NINE
end

local function is_hex(code)
  return code and (is_digit(code) or (code >= 65 and code <= 70) or (code >= 97 and code <= 102))
end

local function after_escape(text, slash)
  local letter = byte(text, slash + 1)
  if letter == LETTER_U then
    local a, b, c, d = byte(text, slash + 2, slash + 5)
    if is_hex(a) and is_hex(b) and is_hex(c) and is_hex(d) then
      return slash + 6
    end
  elseif letter and ESCAPES[letter] then
    return slash + 2
  end
  malformed("bad escape", slash)
end

-- The UTF-16 unit of the escape at `slash`; 0 for those of one letter.
local function escaped_unit(text, slash, over)
  return over - slash == 6 and tonumber(sub(text, slash + 2, slash + 5), 16) or 0
end

local function unit_length(unit, follows_high)
  if follows_high and unit >= 0xDC00 and unit < 0xE000 then
    return in_bytes and 1 or 0 -- the first half has counted as one code point, or as three bytes of the four
  elseif not in_bytes then
    return 1
  end
  return unit < 0x80 and 1 or unit < 0x800 and 2 or 3
end

-- By byte: 1 continues a code point that has been counted (80 to BF), 2 ends what needs no second look.
local CLASSES = {}
for code = 0, 255 do
  local ends = code < 32 or code == QUOTE or code == BACKSLASH
  CLASSES[code] = ends and 2 or code >= 0x80 and code < 0xC0 and 1 or 0
end

-- For text that is not all ASCII, where conditions that come out differently by the byte cost five times as much.
local function after_wide(text, start)
  local continued = 0
  for position = start, #text do
    local class = CLASSES[byte(text, position)]
    if class == 2 then
      return position, position - start - (in_bytes and 0 or continued)
    end
    continued = continued + class
  end
  return #text + 1, 0
end

local function after_string(text, start)
  local position, length = start + 1, 0
  local high_until -- where an escape that is the first half of a pair is over
  while true do
    local current = byte(text, position)
    if current == QUOTE then
      return position + 1, length
    elseif current == BACKSLASH then
      local over = after_escape(text, position)
      local unit = escaped_unit(text, position, over)
      length = length + unit_length(unit, high_until == position)
      high_until = unit >= 0xD800 and unit < 0xDC00 and over or nil
      position = over
    elseif not current then
      malformed("unfinished string", start)
    elseif current < 32 then
      malformed("control character in a string", position)
    elseif current < 0x80 then
      length = length + 1
      position = position + 1
    else
      local added
      position, added = after_wide(text, position)
      length = length + added
    end
  end
end

local function after_digits(text, start)
  local position = start
  while is_digit(byte(text, position)) do
    position = position + 1
  end
  if position == start then
    malformed("no digit in a number", start)
  end
  return position
end

local function after_number(text, start)
  local first = byte(text, start) == MINUS and start + 1 or start
  local position = byte(text, first) == ZERO and first + 1 or after_digits(text, first)
  if byte(text, position) == POINT then
    position = after_digits(text, position + 1)
  end
  local letter = byte(text, position)
  if letter == LETTER_E or letter == CAPITAL_E then
    local sign = byte(text, position + 1)
    position = after_digits(text, (sign == PLUS or sign == MINUS) and position + 2 or position + 1)
  end
  return position
end

local function after_literal(text, start)
  local literal = LITERALS[byte(text, start)]
  if not literal or sub(text, start, start + #literal - 1) ~= literal then
    malformed("unexpected " .. (start > #text and "end" or "character"), start)
  end
  return start + #literal
end

local after_value, decoded

local function after_array(text, start, depth, visit)
  local length, added = 0, 0
  local position = skip_space(text, start + 1)
  if byte(text, position) == CLOSE_BRACKET then
    return position + 1, length
  end
  while true do
    position, added = after_value(text, position, depth, visit and visit.each)
    length = length + added
    position = skip_space(text, position)
    local separator = byte(text, position)
    if separator == CLOSE_BRACKET then
      return position + 1, length
    elseif separator ~= COMMA then
      malformed("no , or ] after a value", position)
    end
    position = skip_space(text, position + 1)
  end
end

-- Calls `visit.seen(key, value_start, value_stop, length)` for each member, stops included, where there is one.
local function after_object(text, start, depth, visit)
  local members = visit and visit.members
  local length, added, counted = 0, 0, members and {}
  local position = skip_space(text, start + 1)
  if byte(text, position) == CLOSE_BRACE then
    return position + 1, length
  end
  while true do
    if byte(text, position) ~= QUOTE then
      malformed("no key", position)
    end
    local key_start = position
    local key_over = after_string(text, position)
    position = skip_space(text, key_over)
    if byte(text, position) ~= COLON then
      malformed("no : after a key", position)
    end
    local value_start = skip_space(text, position + 1)
    local key = members and decoded(text, key_start, key_over - 1)
    position, added = after_value(text, value_start, depth, members and members[key])
    if members and members[key] then
      length = length + added - (counted[key] or 0) -- of a key given twice the last, as engines take it
      counted[key] = added
    end
    if members and visit.seen then
      visit.seen(key, value_start, position - 1, added)
    end
    position = skip_space(text, position)
    local separator = byte(text, position)
    if separator == CLOSE_BRACE then
      return position + 1, length
    elseif separator ~= COMMA then
      malformed("no , or } after a value", position)
    end
    position = skip_space(text, position + 1)
  end
end

function after_value(text, start, depth, visit)
  local first = byte(text, start)
  if first == QUOTE then
    local over, length = after_string(text, start)
    return over, visit and visit.text and length or 0
  elseif first == OPEN_BRACE or first == OPEN_BRACKET then
    if depth == MAX_DEPTH then
      malformed("nested over " .. MAX_DEPTH .. " deep", start)
    end
    return (first == OPEN_BRACE and after_object or after_array)(text, start, depth + 1, visit)
  elseif first == MINUS or (first and first >= ZERO and first <= NINE) then
    return after_number(text, start), 0
  end
  return after_literal(text, start), 0
end

local function utf8(code)
  if code < 0x80 then
    return char(code)
  elseif code < 0x800 then
    return char(0xC0 + math.floor(code / 0x40), 0x80 + code % 0x40)
  elseif code < 0x10000 then
    return char(0xE0 + math.floor(code / 0x1000), 0x80 + math.floor(code / 0x40) % 0x40, 0x80 + code % 0x40)
  end
  return char(
    0xF0 + math.floor(code / 0x40000),
    0x80 + math.floor(code / 0x1000) % 0x40,
    0x80 + math.floor(code / 0x40) % 0x40,
    0x80 + code % 0x40
  )
end

local function surrogate_pair(high, low)
  high, low = tonumber(high, 16), tonumber(low, 16)
  if high >= 0xD800 and high < 0xDC00 and low >= 0xDC00 and low < 0xE000 then
    return utf8(0x10000 + (high - 0xD800) * 0x400 + (low - 0xDC00))
  end
end

-- The text that a string literal stands for; quotes at `start` and `stop`, already scanned.
function decoded(text, start, stop)
  local inner = sub(text, start + 1, stop - 1)
  if not find(inner, "\\", 1, true) then
    return inner
  end
  local pieces, position = {}, 1
  while position <= #inner do
    local slash = find(inner, "\\", position, true)
    pieces[#pieces + 1] = sub(inner, position, (slash or 0) - 1)
    if not slash then
      break
    end
    local simple = ESCAPES[byte(inner, slash + 1)]
    local _, _, high, low = find(inner, "^\\u([dD][89abAB]%x%x)\\u([dD][c-fC-F]%x%x)", slash)
    local pair = high and surrogate_pair(high, low)
    if simple then
      pieces[#pieces + 1] = simple
      position = slash + 2
    elseif pair then
      pieces[#pieces + 1] = pair
      position = slash + 12
    else
      local code = tonumber(sub(inner, slash + 2, slash + 5), 16)
      local lone = code >= 0xD800 and code < 0xE000
      pieces[#pieces + 1] = utf8(lone and 0xFFFD or code)
      position = slash + 6
    end
  end
  return table.concat(pieces)
end

-- Where the values of the wanted keys stand: {start, stop} by key; of a key given twice, the last, as engines take it.
-- Nil for a body that is JSON but no object.
-- And the length of the prompt; nil where there is none.
local function top_level_spans(text)
  local spans, lengths = {}, {}
  local start = skip_space(text, 1)
  local over
  if byte(text, start) == OPEN_BRACE then
    local function seen(key, value_start, value_stop, length)
      if WANTED[key] then
        spans[key] = { value_start, value_stop }
      elseif PROMPTS[key] then
        lengths[key] = length
      end
    end
    over = after_object(text, start, 1, { members = PROMPTS, seen = seen })
  else
    over = after_value(text, start, 0)
    spans = nil
  end
  over = skip_space(text, over)
  if over <= #text then
    malformed("more text after the value", over)
  end
  local prompt_length
  for _, length in pairs(lengths) do
    prompt_length = (prompt_length or 0) + length
  end
  return spans, prompt_length
end

-- The name in the body. Null and "" name nothing.
local function body_model(text, span)
  if not span or sub(text, span[1], span[2]) == "null" then
    return nil
  elseif byte(text, span[1]) ~= QUOTE then
    refuse("invalid_type", '"model"', "model is not a string")
  end
  return decoded(text, span[1], span[2])
end

local function is_stream(text, span)
  return span ~= nil and sub(text, span[1], span[2]) == "true"
end

local function whole_number(text, span)
  local digits = span and sub(text, span[1], span[2]):match("^%d+$")
  return digits and #digits <= 15 and digits or nil
end

-- The strings in a list, with commas between them; the first of those that are too many.
local function listed(text, span)
  local names = {}
  if span and byte(text, span[1]) == OPEN_BRACKET then
    local position = skip_space(text, span[1] + 1)
    while position < span[2] and #names <= MOST_CAPABILITIES do
      local over = after_value(text, position, 1)
      if byte(text, position) == QUOTE then
        names[#names + 1] = decoded(text, position, over - 1)
      end
      position = skip_space(text, skip_space(text, over) + 1) -- past the comma, or the bracket at the end
    end
  end
  return table.concat(names, ",")
end

-- `,chat,code,`: sorted, each once, nil for none. What no policy can call a capability is passed over.
local function capability_set(asked)
  local names, known, count = {}, {}, 0
  for part in asked:gmatch("[^,]+") do
    count = count + 1
    if count > MOST_CAPABILITIES then
      local message = format("The request asks for more than %d capabilities", MOST_CAPABILITIES)
      refuse("too_many_capabilities", '"capabilities"', message)
    end
    local name = part:match("^[ \t]*([a-z0-9][a-z0-9.-]*)[ \t]*$")
    if name and #name <= MOST_CAPABILITY_BYTES and not known[name] then
      known[name] = true
      names[#names + 1] = name
    end
  end
  table.sort(names)
  return #names > 0 and "," .. table.concat(names, ",") .. "," or nil
end

local function fits_a_header(value)
  return #value <= MOST_VALUE_BYTES and not find(value, "[%z\1-\31\127]")
end

-- Only strings are entries of `metadata`, as in OpenAI's API. What fits no header counts as absent: cut, it would be
-- another value.
local function metadata_entries(text, span)
  local entries = {}
  if next(metadata_keys) and span and byte(text, span[1]) == OPEN_BRACE then
    local function seen(key, value_start, value_stop)
      if metadata_keys[key] then
        local value = byte(text, value_start) == QUOTE and decoded(text, value_start, value_stop)
        entries[key] = value and fits_a_header(value) and value or nil
      end
    end
    after_object(text, span[1], 1, { members = {}, seen = seen })
  end
  return entries
end

local function path_model(path)
  local name = path:match("^/v1/models/([^/]+)")
  return name and (name:gsub("%%(%x%x)", function(hex)
    return char(tonumber(hex, 16))
  end))
end

local function is_json(content_type)
  local subtype = content_type and content_type:lower():match("^%s*application/([^%s;]+)")
  return subtype == "json" or (subtype and subtype:sub(-5) == "+json")
end

-- Nil for a request without a body. Headers that were got before this are not to be used after it.
local function body_text(handle)
  local body = handle:body()
  local length = body and body:length() or 0
  return length > 0 and body:getBytes(0, length) or nil
end

local function named(name)
  return name ~= "" and name or nil
end

-- Fit to stand in a header: no control characters, of bounded size. No policy's name is changed by it.
local function header_value(name)
  local cut = #name > MOST_VALUE_BYTES and sub(name, 1, MOST_VALUE_BYTES) .. "..." or name
  return (cut:gsub("[%z\1-\31\127]", function(control)
    return format("%%%02X", byte(control))
  end))
end

local function read(handle)
  local headers = handle:headers()
  local path = headers:get(":path"):match("^[^?#]*")
  if path == "/v1/models" then
    return
  end
  local settings = settings_of(handle)
  local model = named(headers:get("model-name")) or named(path_model(path))
  local asked = headers:get("x-capability") or ""
  local facts = { ["x-turnout-path"] = settings.tell_path and path or nil }
  local is_openai, is_post = OPENAI_PATHS[path], headers:get(":method") == "POST"
  if is_post and (is_openai or is_json(headers:get("content-type"))) then
    local text = body_text(handle)
    in_bytes, metadata_keys = settings.prompt_in_bytes, settings.metadata_keys or {}
    tell_model_at = settings.tell_model_at
    if not text and is_openai then
      refuse("invalid_json", "null", "The request has no body")
    end
    local spans, prompt_length
    if text then
      spans, prompt_length = top_level_spans(text)
    end
    if spans then
      model = model or named(body_model(text, spans.model))
      if tell_model_at and spans.model then
        handle:streamInfo():dynamicMetadata():set("turnout", "model_at", { from = spans.model[1], to = spans.model[2] })
      end
      asked = asked .. "," .. listed(text, spans.capabilities)
      facts["x-turnout-stream"] = is_stream(text, spans.stream) and "true" or nil
      facts["x-turnout-prompt-length"] = prompt_length and tostring(prompt_length)
      facts["x-turnout-max-tokens"] = whole_number(text, spans.max_tokens)
        or whole_number(text, spans.max_completion_tokens)
      for key, value in pairs(metadata_entries(text, spans.metadata)) do
        facts["x-turnout-metadata-" .. key] = value
      end
    elseif is_openai and text then
      refuse("invalid_json", "null", "The request body is not a JSON object")
    end
    headers = handle:headers()
  end
  if model or (is_openai and is_post) then
    headers:replace("x-turnout-model", header_value(model or ""))
  end
  facts["x-turnout-capability"] = capability_set(asked)
  for name, value in pairs(facts) do
    headers:replace(name, value)
  end
  handle:clearRouteCache()
end

function envoy_on_request(handle)
  local done, problem = pcall(read, handle)
  if done then
    return
  end
  local status, kind = "400", "invalid_request_error"
  if type(problem) ~= "table" then
    handle:logErr("request.lua: " .. tostring(problem))
    status, kind = "500", "server_error"
    problem = { code = "internal_error", param = "null", message = "The gateway could not read the request" }
  end
  handle:respond(
    { [":status"] = status, ["content-type"] = "application/json" },
    format(
      '{"error":{"message":"%s","type":"%s","param":%s,"code":"%s"}}',
      problem.message,
      kind,
      problem.param,
      problem.code
    )
  )
end
