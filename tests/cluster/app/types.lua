local gb = require "gb"

local function type_of(name, options)
  local type = gb.grain(name, options)
  function type:where() return gb.silo().name end
  function type:add(n)
    self.state.n = (self.state.n or 0) + n
    return self.state.n
  end
  function type:echo(...) return ... end
  function type:two() return 1, { a = gb.array("int32", { 1, 2 }) } end
  -- Busy until a file is there, with the grain of another key that is.
  function type:hold(key, file)
    if key then return gb.get(name, key):with { timeout = 1000 }:hold(nil, file) end
    local there
    repeat
      gb.sleep(1)
      there = io.open(file)
    until there
    there:close()
  end
  function type:fail() gb.fail("MINE", "not %s", "today") end
  return type
end

type_of("Any", { tenant = "acme" })
type_of("Hash", { placement = "hash" })
type_of("Local", { placement = "local" })
type_of("Least", { placement = "least" })
type_of("Gpu", { placement = gb.gpu { memory = "10MB" } })
type_of("Near", { placement = gb.gpu { memory = "10MB", prefer_local = true } })
type_of("Affine", { placement = gb.gpu { memory = "10MB", policy = "affinity" } })
type_of("Balanced", { placement = gb.gpu { memory = "10MB", policy = "balanced" } })
type_of("Big", { placement = gb.gpu { memory = "700MB", required = true } })
type_of("Huge", { placement = gb.gpu { memory = "1100MB", required = true } })
type_of("Soft", { placement = gb.gpu { memory = "10MB", label = { zone = "west" } } })
type_of("East", { placement = gb.label { zone = "east" } })
type_of("EastGpu", { placement = gb.gpu { label = { zone = "east", rack = 2 } } })
type_of("Nowhere", { placement = gb.label { zone = "north" } })
