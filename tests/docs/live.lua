-- Prints "CLASS NAME" for each name that users can reach; meta.lua compares them with lua/meta.
local gb = require "gb"

local function names(class, from)
  for name in pairs(from) do
    if type(name) == "string" and not name:find("^_") then print(class, name) end
  end
end

-- The names that an error message lists when none is near the wrong one.
local function from_error(class, value, known)
  local ok, message = pcall(function() return value.qqqqqqqqqqqqqqqqqqqqqqqq end)
  assert(not ok, class .. " has a field with a strange name")
  local list = assert(message:match("known: (.*)$"), message):gsub(" %(.*", "")
  for name in list:gmatch("[%w_]+") do
    if not known[name] then print(class, name) end
  end
end

local function index_of(value) return debug.getmetatable(value).__index end

function print(class, name) io.write(class, " ", name, "\n") end

from_error("gb", gb, {})
names("gb.Log", gb.log)
names("gb.Catalog", gb.catalog)
names("gb.Resilience", gb.resilience)
names("gb.Test", gb.test)

local Probe = gb.grain("Probe")

function Probe:_names()
  local class = getmetatable(index_of(self)).__index
  names("gb.Self", class)
  for _, field in ipairs { "state", "device", "kernels", "resident" } do print("gb.Self", field) end
  names("gb.Timer", index_of(self:timer { after = "1h", call = "look" }))
end

function Probe:look() self:_names() end

local probe = gb.get(Probe, 1)
local _, message, code = probe:look()
assert(not code, message)
names("gb.Ref", index_of(gb.get("Nobody", 1)))
names("gb.Future", index_of(probe:async("look")))
names("gb.Subscription", index_of(assert(gb.subscribe(probe, "topic", function() end))))

from_error("gb.Array", gb.array("float", 1), {})
from_error("gb.Buffer", assert(gb.buffer("float", 1)), {})
from_error("gb.Queue", assert(gb.queue()), {})
from_error("gb.Lib", gb.lib, {})

for class, value in pairs { Breaker = gb.breaker(), Bulkhead = gb.bulkhead(), Bucket = gb.bucket(),
  Levels = gb.levels { optimal = print }, Policy = gb.policy {} } do
  names("gb." .. class, index_of(value))
end
