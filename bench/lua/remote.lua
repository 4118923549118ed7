-- A client of one silo: one call in flight, 1000, and 1 MiB both ways. bench/remote.lua runs it.
local gb = require "gb"

local e = gb.get("Echo", 1)
assert(e:ping(1))
local took = {}
for i = 1, 22000 do
  local from = gb.monotonic()
  e:ping(i)
  took[i] = gb.monotonic() - from
end
took = { unpack(took, 2001, 2000 + 7000) }
table.sort(took)
print(("R remote_us %.3f"):format(took[#took / 2] * 1e6))

-- From the client to the silo, into its book and on to the others, and back.
for _, what in ipairs { "register", "update" } do
  local silo = assert(gb.capacity.list { all = true })[1].silo
  local times = {}
  for i = 1, 2000 do
    local from = gb.monotonic()
    assert(gb.capacity[what](silo, { devices = 1, memory_total = "8GB", memory_free = i * 2 ^ 20 }))
    times[i] = gb.monotonic() - from
  end
  table.sort(times)
  print(("R capacity_%s_us %.3f"):format(what, times[#times / 2] * 1e6))
end

local function together(width, count, fn)
  local fs = {}
  for k = 1, width do
    fs[k] = gb.spawn(function()
      for _ = 1, count / width do fn(k) end
    end)
  end
  gb.all(fs)
end

local refs = {}
for k = 1, 1000 do refs[k] = gb.get("Echo", k) end
local function ping(k) return refs[k]:ping(k) end
together(1000, 50000, ping)
local from = gb.monotonic()
together(1000, 300000, ping)
print(("R remote_1000 %.0f"):format(300000 / (gb.monotonic() - from)))

local text = ("x"):rep(2 ^ 20)
local array = gb.array("float", 2 ^ 18)
for name, value in pairs { text = text, array = array } do
  local function echo(k) assert(refs[k]:ping(value)) end
  together(8, 80, echo)
  from = gb.monotonic()
  together(8, 1000, echo)
  print(("R remote_%s_mib %.0f"):format(name, 1000 / (gb.monotonic() - from)))
end
