-- calls.lua: what a call to another process can be and what becomes of it, each once.
local gb = require "gb"
local ref = gb.get("Counter", "calls")

local function refused(code, ...)
  local first, message, got = ...
  assert(first == nil and got == code,
    ("expected %s, got %s %s %s"):format(code, tostring(first), tostring(message), tostring(got)))
  return message
end

-- values
local bytes = "\0\255 any bytes\n"
local t = { 1, 2, { deep = { bytes } }, name = "x", yes = true }
local back, text, number, nothing, last = ref:echo(t, bytes, 2 ^ 53, nil, "last")
assert(back ~= t and back[3].deep[1] == bytes and back.name == "x" and back.yes == true)
assert(text == bytes and number == 2 ^ 53 and nothing == nil and last == "last")
local array = gb.array("float", 2 ^ 20)
for i = 1, #array, 4097 do array[i] = i end
local copy = ref:echo(array)
assert(#copy == #array)
for i = 1, #array, 4097 do assert(copy[i] == array[i]) end
assert(#ref:echo(gb.move(copy)) == #array)

-- too much, in either direction; the link lives
assert(refused("EINVAL", ref:echo(("x"):rep(2 ^ 26))):find("limit"))
assert(refused("EINVAL", ref:many(2 ^ 26)):find("limit"))
refused("EINVAL", ref:echo(gb.array("float", 2 ^ 24 + 1)))
assert(#ref:many(2 ^ 25) == 2 ^ 25)

-- keys: whole numbers, texts, guids; a number and its text are one grain, other writings are not
local guid = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
for _, key in ipairs { 1, 0, -7, 2 ^ 53 - 1, "a b/c é\n", guid, ("k"):rep(1024) } do
  local one = gb.get("Counter", key)
  local _, life, was = one:inc()
  local other = type(key) == "number" and ("%d"):format(key) or key
  local _, same, n = gb.get("Counter", other):inc()
  assert(life == same and n == was + 1, tostring(key))
end
assert(select(2, gb.get("Counter", guid):inc()) ~= select(2, gb.get("Counter", guid:upper()):inc()))
assert(gb.get("Counter", -7) == gb.get("Counter", "-7"))
for _, no in ipairs { 1.5, 2 ^ 53, {}, true, ("k"):rep(1025) } do
  assert(not pcall(gb.get, "Counter", no))
end

-- what is not there, what fails
refused("ENOTYPE", gb.get("Nobody", 1):echo(1))
refused("ENOMETHOD", ref:nothing())
assert(refused("ERAISED", ref:fails()):find("on purpose"))

-- one-way: in order with what follows
local before = ref:count()
for _ = 1, 100 do assert(ref:tell("inc")) end
assert(ref:count() == before + 100)
refused("ENOTYPE", gb.tell(gb.get("Nobody", 1), "inc"))

-- context, deadline, cancelling
assert(ref:with({ bag = { word = "far" } }):bag() == "far")
local from = gb.monotonic()
refused("ETIMEDOUT", gb.get("Counter", "slow"):with({ timeout = 0.05 }):slow())
assert(gb.monotonic() - from < 5)
local future = gb.get("Counter", "slower"):async("slow")
future:cancel()
refused("ECANCELED", future:await())

-- a buffer means nothing elsewhere
refused("EDEVICE", ref:echo(gb.buffer("float", 16):share()))
assert(ref:echo("still") == "still")
print("calls are as they should be")
