-- where.lua KEYS: where each counter is, as the silo that this is connected to sees it.
local gb = require "gb"
for key = 1, tonumber(arg[1]) do
  local silo, life, code = gb.get("Counter", key):where()
  print(key, silo or code, life)
end
