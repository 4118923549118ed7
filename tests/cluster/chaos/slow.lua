-- slow.lua CALLERS ROUNDS BYTES: asks for large results, many at a time. The calls have some size
-- too, so that a silo does not read all of them at once.
local gb = require "gb"
local callers, rounds, bytes = tonumber(arg[1]), tonumber(arg[2]), tonumber(arg[3])
local good, pad = 0, ("x"):rep(16000)

local function caller(index)
  local ref = gb.get("Counter", "slow" .. index):with { timeout = 120 }
  for _ = 1, rounds do
    if #assert(ref:many(bytes, pad)) == bytes then good = good + 1 end
    if good == 1 then
      io.write("ready all ask\n")
      io.flush()
    end
  end
end

local fs = {}
for i = 1, callers do fs[i] = gb.spawn(caller, i) end
gb.all(fs)
print(("end %d of %d"):format(good, callers * rounds))
