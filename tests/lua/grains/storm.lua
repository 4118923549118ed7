-- Any mixture of what grains can do and get wrong: every call is answered, with a code that the
-- list has, and nothing of it is left when it is quiet. What leaks is found when the host closes.
local kit = dofile((arg[0]:gsub("[^/]+$", "../kit.lua")))
local gb = require "gb"
local types = require "types.storm"

local expected = { ok = true, FAIL = true }
for _, code in ipairs { "ERAISED", "ETIMEDOUT", "ECANCELED", "EDEADLOCK", "EBUSY", "ENOMETHOD",
  "EINVAL" } do expected[code] = true end

kit.case("every call is answered", function()
  math.randomseed(kit.seed)
  local count, often, round = {}, { "ok", "ERAISED", "EINVAL", "FAIL" }, 0
  local function all_seen()
    for _, code in ipairs(often) do if not count[code] then return false end end
    return true
  end
  repeat -- on a slow machine most are late
    round = round + 1
    local futures = {}
    for i = 1, 100 do
      local ref = gb.get(types[kit.random(#types)], kit.random(20))
      futures[i] = ref:with { timeout = "300ms" }:async("go", 6)
    end
    for _, result in ipairs(gb.settled(futures)) do
      local code = result.ok and "ok" or result.code
      kit.ok(expected[code], tostring(code) .. ": " .. tostring(result.message))
      count[code] = (count[code] or 0) + 1
    end
  until round >= 10 and (all_seen() or round == 100)
  for _, code in ipairs(often) do kit.ok(count[code], code) end
end)

kit.case("and then it is quiet", function()
  for _, name in ipairs(types) do
    kit.wait(name .. " ends", function() return gb.count(name) == 0 end)
  end
end)

kit.finish()
