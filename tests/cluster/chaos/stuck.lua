-- stuck.lua CALLS BYTES PATH: large calls to a gate whose worker does nothing else until the file
-- is there.
local gb = require "gb"
local calls, text, path = tonumber(arg[1]), ("x"):rep(tonumber(arg[2])), arg[3]
local gate = gb.get("Gate", "stuck"):with { timeout = 120 }
local good, wrong, fs = 0, "", {}

gate:open()
local spinning = gate:async("spin", path)
local spins
repeat
  gb.sleep("10ms")
  spins = io.open(path .. ".on")
until spins
spins:close()
for i = 1, calls do
  fs[i] = gb.spawn(function()
    local got, why = gate:pass(text)
    if got == #text then good = good + 1 else wrong = ": " .. tostring(why) end
  end)
end
gb.all(fs)
assert(spinning:await())
print(("end %d of %d%s"):format(good, calls, wrong))
