-- pile.lua CALLS BYTES: large calls, all at once, that wait until the gate is open.
local gb = require "gb"
local calls, bytes = tonumber(arg[1]), tonumber(arg[2])
local text, good, wrong, fs = ("x"):rep(bytes), 0, "", {}

for i = 1, calls do
  fs[i] = gb.spawn(function()
    local got, why = gb.get("Gate", "g"):with { timeout = 120 }:pass(text)
    if got == bytes then good = good + 1 else wrong = ": " .. tostring(why) end
  end)
end
io.write("ready all call\n")
io.flush()
gb.all(fs)
print(("end %d of %d%s"):format(good, calls, wrong))
