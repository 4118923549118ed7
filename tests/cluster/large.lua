-- large.lua WHAT [FILE]: large.sh runs it against two silos.
local gb = require "gb"
local MIB = 2 ^ 20
local LARGE = 100 * MIB
local parts = {}

-- With patience: under a sanitizer a large call takes a while, and those behind it do too.
local function get(type_name, key) return gb.get(type_name, key):with { timeout = "300s" } end

-- A small call behind a large one is answered before it, at both ends of the way.
function parts.between()
  local echo, other = get("Echo", "a"), get("Echo", "b")
  assert(echo:give(1) == 1 and other:give(2) == 2)
  local text = ("0123456789abcdef"):rep(LARGE / 16)
  for _, call in ipairs { { "size", text }, { "text", LARGE } } do
    local large, seen = echo:async(call[1], call[2]), 0
    while not large:done() and seen < 4 do
      if seen > 0 then assert(other:give(seen) == seen) end -- once, before the large one has left
      seen = seen + 1
    end
    assert(seen == 4, "small calls before the large one: " .. seen)
    local got = assert(large:await())
    assert((type(got) == "string" and #got or got) == LARGE)
  end
  -- to one grain in order: the small call sees the end of the large one
  local large = echo:async("size", text)
  assert(echo:give("behind") == "behind")
  assert(large:await() == LARGE)
end

-- Arrays and texts of all sizes come back as they went.
function parts.same()
  local echo = get("Echo", "same")
  for _, n in ipairs { 0, 1, 16383, 16384, 16385, 65536, 1e6, 3e6 } do
    local a = gb.array("float", n)
    for i = 0, n - 1, 997 do a[i] = i end
    local text = ("t"):rep(n) .. n
    local b, t, c = assert(echo:give(a, text, gb.move(gb.array("int32", n))))
    assert(#b == n and t == text and #c == n)
    for i = 0, n - 1, 997 do assert(b[i] == i) end
  end
end

-- What is too large is said here, or there, with the setting's name.
function parts.refused()
  local echo = get("Echo", "refused")
  local value, why, code = echo:give(gb.array("uint8", 301 * MIB))
  assert(value == nil and code == "EINVAL", why)
  local here = "a message of 315%d+ bytes; the limit between silos is 314572800 %(max_message%)"
  assert(why:find(here), why)
  local fine, raised = pcall(echo.size, echo, ("x"):rep(301 * MIB))
  local strings = "more than 300 MiB of strings in one message (max_message)"
  assert(not fine and raised:find(strings, 1, true), raised)
  value, why, code = get("Other", "o"):ping(("x"):rep(2 * MIB)) -- that silo takes 1 MiB
  assert(value == nil and code == "EINVAL" and why:find("1048576 (max_message)", 1, true), why)
  assert(get("Other", "o"):ping(7) == 7)
end

-- A silo that reads nothing: who calls it waits and holds no more for it, others go on, and then
-- all of it has come.
function parts.slow(file)
  local COUNT = 100
  local slow, other = get("Slow", 1), get("Other", 2)
  assert(slow:all())
  local standing = slow:async("stand", file)
  local done, fs, text = 0, {}, ("x"):rep(MIB / 2)
  for i = 1, COUNT do
    fs[i] = gb.spawn(function()
      assert(slow:take(i, text))
      done = done + 1
    end)
  end
  for i = 1, 200 do assert(assert(other:ping(i)) == i) end
  assert(done == 0 and not standing:done())
  assert(io.open(file, "w")):close()
  assert(gb.all(fs))
  local got = slow:all()
  assert(#got == COUNT and done == COUNT)
  table.sort(got)
  for i = 1, COUNT do assert(got[i] == i) end
end

parts[arg[1]](arg[2])
print "ok"
