-- pile.lua CALLS BYTES: large calls, all at once, that wait until the gate is open.
local gb = require "gb"
local calls, bytes = tonumber(arg[1]), tonumber(arg[2])
local text, good, fs = ("x"):rep(bytes), 0, {}

for i = 1, calls do
  fs[i] = gb.spawn(function()
    if gb.get("Gate", "g"):with { timeout = 120 }:pass(text) == bytes then good = good + 1 end
  end)
end
io.write("ready all call\n")
io.flush()
gb.all(fs)
print(("end %d of %d"):format(good, calls))
