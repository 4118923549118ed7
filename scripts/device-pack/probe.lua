-- probe.lua: the devices as gb sees them, one line each, for run.lua.
local gb = require "gb"
for _, d in ipairs(gb.devices()) do
  print(("D %d\t%s\t%s\t%s\t%.0f\t%d"):format(d.index, d.backend, d.name, d.arch, d.memory_total,
    d.units))
end
