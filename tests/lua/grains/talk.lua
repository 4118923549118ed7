-- Publish and subscribe, what travels with calls, and the log.
local kit = dofile((arg[0]:gsub("[^/]+$", "../kit.lua")))
local gb = require "gb"
require "types.talk"
require "types.echo"

local function count_is(n, list) return function() return #list >= n end end

kit.case("a script hears what a grain publishes, in order, until it closes", function()
  for _, here in ipairs { true, false } do
    local room, got = kit.elsewhere("Room", here, "script" .. tostring(here)), {}
    local sub = assert(gb.subscribe(room, "said", function(...) got[#got + 1] = { n = select("#",
      ...), ... } end))
    kit.eq(gb.type(sub), "subscription")
    kit.eq(room:say("nobody else", nil, 3, nil), true)
    kit.wait("a message", count_is(1, got))
    kit.same(got[1], { n = 4, "nobody else", nil, 3, nil })
    for i = 1, 300 do kit.eq(room:say(i), true) end
    kit.wait("all messages", count_is(301, got))
    for i = 1, 300 do kit.eq(got[i + 1][1], i) end
    kit.eq(room:on("another topic", 1), true)
    kit.eq(sub:close(), true)
    kit.eq(sub:close(), true)
    room:say("too late")
    gb.sleep("5ms")
    kit.eq(#got, 301)
  end
end)

kit.case("grains hear with methods and functions, across workers", function()
  for r, room_here in ipairs { true, false } do
    for e, ear_here in ipairs { true, false } do
      local salt = r .. "," .. e .. ","
      local room = kit.elsewhere("Room", room_here, "room" .. salt)
      local a, b, c = kit.elsewhere("Ear", ear_here, "a" .. salt), kit.elsewhere("Ear", ear_here,
        "b" .. salt),
        kit.elsewhere("Ear", ear_here, "c" .. salt)
      kit.eq(a:listen(room, "said"), true)
      kit.eq(b:listen_fn(room, "said"), true)
      kit.eq(c:listen(room, "said", "_private"), true)
      for i = 1, 50 do kit.eq(room:say(i), true) end
      for _, ear in ipairs { a, b, c } do
        kit.wait("all messages", function() return #ear:list() >= 50 end)
        for i, v in ipairs(ear:list()) do kit.eq(v, i) end
      end
      kit.eq(a:close(), true)
      kit.eq(b:close(), true)
      room:say("after")
      kit.wait("the third one", function() return #c:list() >= 51 end)
      kit.eq(#a:list(), 50)
      kit.eq(#b:list(), 50)
    end
  end
end)

kit.case("subscriptions outlive the publisher's activation; a function ends with its own",
  function()
  local room, ear, by_name = gb.get("Room", "dies"), gb.get("Ear", "dies"), gb.get("Ear", "stays")
  ear:listen_fn(room, "said")
  by_name:listen(room, "said")
  room:say(1)
  kit.wait("first", function() return #ear:list() == 1 and #by_name:list() == 1 end)
  room:stop()
  room:say(2)
  kit.wait("second", function() return #ear:list() == 2 end)
  ear:stop()
  by_name:stop()
  room:say(3)
  kit.wait("a new activation hears by name", function() return by_name:list()[1] == 3 end)
  kit.eq(#ear:list(), 0)
  local function alive()
    for _, key in ipairs(gb.keys("Ear")) do if key == "dies" then return true end end
    return false
  end
  ear:stop()
  kit.wait("its end", function() return not alive() end)
  for i = 4, 6 do room:say(i) end
  kit.wait("all", function() return #by_name:list() == 4 end)
  kit.ok(not alive(), "a message does not wake a grain whose handler is gone")
end)

kit.case("handlers that raise or wait do no harm; values are copies", function()
  local room, got = gb.get("Room", "harm"), {}
  local bad = gb.subscribe(room, "said", function() error("a handler that raises") end)
  local slow = gb.subscribe(room, "said", function(x) gb.sleep("2ms") got[#got + 1] = x end)
  local t1, t2
  local first = gb.subscribe(room, "said", function(x) t1 = x x.changed = true end)
  local second = gb.subscribe(room, "said", function(x) t2 = x end)
  room:say({ x = 1 })
  kit.wait("all handlers", function() return #got == 1 and t1 and t2 end)
  kit.ok(t1 ~= t2)
  kit.same(t2, { x = 1 })
  for _, sub in ipairs { bad, slow, first, second } do kit.eq(sub:close(), true) end
  kit.fails("ERAISED", "~types/talk.lua:%d+: self:publish takes a topic", room:wrong())
  kit.fails("ENOTYPE", "unknown grain type 'Roo'; did you mean 'Room'?", gb.subscribe(gb.get("Roo",
    1), "x", print))
end)

-- ---- what travels along ----

kit.case("bag and trace travel across calls and workers", function()
  for _, here in ipairs { true, false } do
    local a, b = kit.elsewhere("Echo", here, "ctx"), kit.elsewhere("Echo", not here, "ctx2-")
    local bag = { user = "ann", roles = { 1, 2 }, big = 7LL }
    local tagged = a:with { bag = bag }
    bag.user = "changed after"
    local mine, theirs = tagged:context_through(b)
    for _, c in ipairs { mine, theirs } do kit.same(c.bag, { user = "ann", roles = { 1, 2 },
      big = 7LL }) end
    kit.eq(#mine.trace, 32)
    kit.ok(mine.trace:find("^%x+$") and mine.trace ~= ("0"):rep(32))
    kit.eq(theirs.trace, mine.trace, "one chain, one trace")
    kit.same(a:context().bag, {}, "only calls of that reference")
    kit.ok(gb.context().trace == a:context().trace, "a script is one chain")
    kit.eq(mine.tenant, "default")
    kit.eq(theirs.caller, a:id())
    kit.eq(mine.caller, nil, "a script has no id")
    kit.same(tagged:with { timeout = 5 }:context().bag.user, "ann", "with upon with keeps the rest")
    kit.eq(tagged:async("context"):await().bag.user, "ann")
  end
  local f = gb.spawn(function() return gb.context().trace end)
  kit.eq(f:await(), gb.context().trace)
end)

-- ---- the log ----

-- Enough of a reader of JSON to prove that a line is one.
local function read_json(text)
  local at = 1
  local value
  local function space() at = text:match("^%s*()", at) end
  local function expect(pattern)
    local got, next_at = text:match("^(" .. pattern .. ")()", at)
    if not got then error("not JSON at " .. at .. ": " .. text:sub(at, at + 30), 0) end
    at = next_at
    return got
  end
  local function text_value()
    expect('"')
    local parts = {}
    while true do
      local plain, next_at = text:match('^([^"\\%c]*)()', at)
      parts[#parts + 1], at = plain, next_at
      if text:sub(at, at) == '"' then break end
      local escape = expect('\\[bfnrt"/\\u]')
      parts[#parts + 1] = escape == "\\u" and string.char(tonumber(expect("%x%x%x%x"), 16) % 256) or
        ({ n = "\n", t = "\t", r = "\r" })[escape:sub(2)] or escape:sub(2)
    end
    expect('"')
    return table.concat(parts)
  end
  local function list(open, close, item)
    expect(open)
    space()
    if text:sub(at, at) == close then at = at + 1 return end
    repeat
      item()
      space()
      local sign = expect("[,%" .. close .. "]")
    until sign == close
  end
  function value()
    space()
    local first = text:sub(at, at)
    if first == '"' then return text_value() end
    if first == "{" then
      local t = {}
      list("{", "}", function() space()
        local k = text_value() space() expect(":") t[k] = value() end)
      return t
    end
    if first == "[" then
      local t = {}
      list("%[", "]", function() t[#t + 1] = value() end)
      return t
    end
    if text:find("^true", at) or text:find("^null", at) then return expect("%a+") == "true" end
    if text:find("^false", at) then expect("false") return false end
    return assert(tonumber(expect("%-?%d+%.?%d*[eE]?[+-]?%d*")))
  end
  local result = value()
  space()
  if at <= #text then error("something behind the JSON: " .. text:sub(at), 0) end
  return result
end

kit.case("log lines are JSON, whatever is in them", function()
  if os.getenv("GB_TALK_CHILD") then return end
  local out = os.tmpname()
  local command = ("GB_TALK_CHILD=1 GB_WORKERS=%d '%s' '%s' 2> '%s'"):format(kit.workers,
    assert(os.getenv("GB_GBRUN")), (arg[0]:gsub("[^/]+$", "types/log_lines.lua")), out)
  local status, texts, lines = os.execute(command), {}, {}
  for line in io.lines(out) do texts[#texts + 1] = line end
  os.remove(out)
  kit.eq(status, 0)
  for i, text in ipairs(texts) do lines[i] = read_json(text) end
  local by_text = {}
  for _, line in ipairs(lines) do
    kit.ok(line.time and line.level and line.text)
    by_text[line.text] = line
  end
  kit.eq(by_text.plain.level, "info")
  kit.eq(by_text.warned.level, "warn")
  kit.eq(by_text.failed.level, "error")
  kit.eq(by_text["quote \" slash \\ newline \n"].field, "tab\tquote\"")
  kit.eq(by_text.numbers.big, 9007199254740993, "about")
  kit.eq(by_text.numbers.third, 1 / 3, "every digit of a double")
  kit.eq(by_text.numbers.int64, "9223372036854775807", "exact, as a string")
  kit.eq(by_text.nested.a.b[2], 2)
  kit.eq(by_text.list.fields[3], 3)
  kit.ok(by_text.empty and by_text.cycle and by_text.depth)
  kit.eq(by_text.reserved.level_, "mine")
  kit.eq(by_text["from a grain"].n, 5)
  kit.eq(by_text.reserved.level, "info", "fields do not replace ours")
  kit.eq(by_text.mixed["1"], "first")
  kit.eq(by_text.mixed.name, "Ann")
  kit.eq(by_text.mixed.inner.x, 2)
  local function unheard(text)
    for _, line in ipairs(lines) do if line.text:find(text) == 1 then return end end
    error("not in the log: " .. text, 2)
  end
  unheard("Logger/1:told raised and nobody waits for it: log_lines.lua:%d+: told")
  unheard("Logger/1:tald failed and nobody waits for it: Logger: unknown method 'tald'; did you "
    .. "mean 'told'%?")
  unheard("Logger/2, a handler of gb.subscribe raised .*: log_lines.lua:%d+: in a grain's handler")
  unheard("the script, a handler of gb.subscribe raised .*%.lua:%d+: in the script's handler")
end)

kit.finish()
