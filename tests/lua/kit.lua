-- The kit of the Lua tests: named cases, checks that say what differs, a seed, and a closing line.
--   local kit = dofile((arg[0]:gsub("[^/]+$", "../kit.lua")))
--   kit.case("what must hold", function() kit.eq(1 + 1, 2) end)
--   kit.finish()
local gb = require "gb"

local kit = { passed = 0, failed = 0 }

kit.workers = gb.silo().workers
kit.seed = tonumber(os.getenv("GB_SEED") or "") or os.time() % 1000000
local state = kit.seed * 2654435761 % 2 ^ 32

--- An integer from 1 to n, the same ones for the same seed.
function kit.random(n)
  state = (state * 1664525 + 1013904223) % 2 ^ 32
  return math.floor(state / 2 ^ 32 * n) + 1
end

local function show(value, depth)
  depth = depth or 0
  if type(value) == "string" then return ("%q"):format(#value > 400 and value:sub(1, 400) .. "..."
    or value) end
  if type(value) ~= "table" or depth > 3 then return tostring(value) end
  local parts = {}
  for k, v in pairs(value) do
    if #parts >= 20 then break end
    parts[#parts + 1] = "[" .. show(k, 4) .. "]=" .. show(v, depth + 1)
  end
  return "{" .. table.concat(parts, ", ") .. "}"
end
kit.show = show

local function fail(what, text, level)
  error((what and what .. ": " or "") .. text, level + 1)
end

function kit.ok(value, what)
  if not value then fail(what, "expected something true, got " .. show(value), 2) end
  return value
end

function kit.eq(got, want, what)
  if got ~= want then fail(what, "expected " .. show(want) .. ", got " .. show(got), 2) end
  return got
end

--- Are two values the same in type, bits and structure? Where they differ, or nil.
function kit.differ(a, b, path)
  path = path or "value"
  if type(a) ~= type(b) then return ("%s: a %s, then a %s"):format(path, type(a), type(b)) end
  if type(a) == "number" then
    if a ~= a and b ~= b then return nil end
    if a ~= b or 1 / a ~= 1 / b then return ("%s: %.17g, then %.17g"):format(path, a, b) end
  elseif type(a) == "table" and gb.type(a) == "table" then
    if getmetatable(b) ~= nil then return path .. ": a metatable came out of nothing" end
    for k, v in next, a do
      local at = kit.differ(v, b[k], path .. "[" .. tostring(k) .. "]")
      if at then return at end
    end
    for k in next, b do
      if a[k] == nil then return ("%s[%s] came out of nothing"):format(path, tostring(k)) end
    end
  elseif type(a) == "cdata" then
    local kind, other = gb.type(a), gb.type(b)
    if kind ~= other then return ("%s: %s, then %s"):format(path, kind, other) end
    if kind == "array" then return kit.differ(a:totable(), b:totable(), path .. ":totable()") end
    if tostring(a) ~= tostring(b) then return ("%s: %s, then %s"):format(path, tostring(a),
      tostring(b)) end
  elseif a ~= b then
    return ("%s: %s, then %s"):format(path, show(a), show(b))
  end
end

--- Deep equality; numbers by bits, cdata by type and text.
function kit.same(got, want, what)
  local at = kit.differ(want, got)
  if at then fail(what, at, 2) end
  return got
end

--- The results of something that must fail: nil, a message that is (or matches, with a
--- leading ~) text, a code.
function kit.fails(code, text, value, message, got_code)
  if value ~= nil then fail(nil, ("expected %s, got %s"):format(code, show(value)), 2) end
  if got_code ~= code then
    fail(nil, ("expected %s, got %s: %s"):format(code, tostring(got_code), tostring(message)), 2)
  end
  if text and text:sub(1, 1) == "~" then
    if not tostring(message):find(text:sub(2)) then
      fail(nil, ("expected a message like %q, got %q"):format(text:sub(2), tostring(message)), 2)
    end
  elseif text and message ~= text then
    fail(nil, ("expected the message %q, got %q"):format(text, tostring(message)), 2)
  end
end

--- Calls a function that must raise text; with a leading ~ a pattern.
function kit.raises(text, fn, ...)
  local ok, message = pcall(fn, ...)
  if ok then fail(nil, ("expected it to raise %q, got %s"):format(text, show(message)), 2) end
  local found
  if text:sub(1, 1) == "~"
    then found = tostring(message):find(text:sub(2)) else found = message == text end
  if not found then fail(nil, ("expected it to raise %q, got %q"):format(text, tostring(message)),
    2) end
  return message
end

--- "file.lua:12" of the caller, a number of lines further.
function kit.here(lines)
  local info = debug.getinfo(2, "Sl")
  return info.short_src .. ":" .. (info.currentline + (lines or 0))
end

--- Waits until a function answers something true; fails after a generous time.
function kit.wait(what, fn)
  local limit = gb.monotonic() + 60
  while gb.monotonic() < limit do
    local value = fn()
    if value then return value end
    gb.sleep(0.002)
  end
  fail(what, "never happened", 2)
end

local Gate

--- A new gate, a grain of this worker: `wait` comes back when `open` was called, `waiting` is how
--- many wait.
function kit.gate()
  if not Gate then
    Gate = gb.grain("KitGate", { reentrant = true })
    function Gate:wait()
      self.here = (self.here or 0) + 1
      while not self.opened do gb.sleep(0.001) end
      self.here = self.here - 1
      return "open"
    end
    function Gate:waiting() return self.here or 0 end
    function Gate:open() self.opened = true end
  end
  kit.gates = (kit.gates or 0) + 1
  return gb.get("KitGate", kit.gates)
end

--- Keeps a grain in a turn until a gate is opened: the gate, and that call of the grain. `method`
--- calls what it is given: (reference, method).
function kit.hold(ref, method)
  local gate = kit.gate()
  local call = ref:async(method, gate, "wait")
  kit.wait("the turn", function() return gate:waiting() == 1 end)
  return gate, call
end

--- A reference of a type (with a method `where`) whose grain lives on another worker;
--- on this one when there is no
--- other, or when asked for.
function kit.elsewhere(type_name, here, salt)
  local own = gb.silo().worker
  for i = 1, 500 do
    local ref = gb.get(type_name, (salt or "k") .. i)
    local at = assert(ref:where())
    if kit.workers == 1 or (at == own) == (here or false) then return ref end
  end
  error("no key of " .. type_name .. " is where it should be", 2)
end

function kit.case(name, fn)
  local only = os.getenv("GB_CASE")
  if only and not name:find(only, 1, true) then return end
  local ok, message = xpcall(fn, function(value)
    return debug.traceback(type(value) == "string" and value or show(value), 2)
  end)
  if ok then
    kit.passed = kit.passed + 1
  else
    kit.failed = kit.failed + 1
    collectgarbage() -- memory may be short
    print(("not ok  %s\n        %s"):format(name, (tostring(message):gsub("\n", "\n        "))))
  end
end

function kit.finish()
  print(("%d passed, %d failed (%d workers, seed %d)"):format(kit.passed, kit.failed, kit.workers,
    kit.seed))
  if kit.failed > 0 then error(("%d cases failed"):format(kit.failed), 0) end
end

return kit
