-- slow.lua CALLERS ROUNDS BYTES: asks for large results, many at a time.
local gb = require "gb"
local callers, rounds, bytes = tonumber(arg[1]), tonumber(arg[2]), tonumber(arg[3])
local began, good = 0, 0

local function caller(index)
  local ref = gb.get("Counter", "slow" .. index):with { timeout = 120 }
  for _ = 1, rounds do
    began = began + 1
    if began == callers then
      io.write("ready all ask\n")
      io.flush()
    end
    if #assert(ref:many(bytes)) == bytes then good = good + 1 end
  end
end

local fs = {}
for i = 1, callers do fs[i] = gb.spawn(caller, i) end
gb.all(fs)
print(("end %d of %d"):format(good, callers * rounds))
