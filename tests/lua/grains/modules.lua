-- Modules: hosted by every worker, loaded once there; what goes wrong with them.
local kit = dofile((arg[0]:gsub("[^/]+$", "../kit.lua")))
local gb = require "gb"

kit.case("a module is loaded once per worker, and its top may wait", function()
  local futures = {}
  for i = 1, 20 do futures[i] = gb.spawn(function() return require "modules.once" end) end
  local modules = gb.all(futures)
  for i = 1, 20 do kit.eq(modules[i], modules[1]) end
  kit.eq(modules[1].loads(), 1)
  local calls = {}
  for i = 1, 40 do calls[i] = gb.get("Once", "k" .. i):async("look") end
  for i = 1, 40 do
    local loads, echoed = calls[i]:await()
    kit.eq(loads, 1)
    kit.eq(echoed, "at the top")
  end
  kit.eq(gb.get(modules[1].Once, "k1"):look(), 1)
  local seen = {}
  for i = 1, 40 do seen[gb.get("Once", "k" .. i):where()] = true end
  local count = 0
  for _ in pairs(seen) do count = count + 1 end
  kit.eq(count, kit.workers, "every worker hosts it")
end)

kit.case("results of modules", function()
  kit.eq(require "modules.nothing", true)
  kit.eq(require "modules.nothing", true)
  kit.eq(_G.loaded_nothing, 1)
  kit.eq(require "modules.falsy", false)
  kit.eq(require "modules.falsy", false)
  kit.eq(_G.loaded_falsy, 1)
  local inner = require "modules.inner"
  kit.eq(inner.name, "modules.inner")
  kit.eq(require "modules.inner", inner)
  local far = kit.elsewhere("Inner")
  kit.ok(far:where())
  package.preload["made here"] = function(name) gb.sleep(0) return { name = name } end
  kit.eq(require("made here").name, "made here")
  kit.eq(require "string", string)
end)

kit.case("a module that is not there, or is wrong", function()
  local message = kit.raises("~^modules.lua:%d+: module 'modules.nowhere' not found:", function()
    require "modules.nowhere"
  end)
  kit.ok(message:find("no file '[^\n]*modules/nowhere.lua'") and message:find("nowhere/init.lua",
    1, true), message)
  kit.raises(kit.here(1) .. ": require takes the name of a module", function()
    require()
  end)
  local folder = arg[0]:gsub("[^/]+$", "")
  package.preload["modules.syntax"] = nil
  local text = io.open(folder .. "modules/syntax.lua.txt"):read("*a")
  local ok, syntax = loadstring(text, "@modules/syntax.lua")
  kit.eq(ok, nil)
  local dir = os.tmpname()
  os.remove(dir)
  local file = assert(io.open(dir .. ".lua", "w"))
  file:write(text)
  file:close()
  kit.raises("~:3: ", function() dofile(dir .. ".lua") end)
  kit.raises("~^modules.lua:%d+: cannot open /nowhere/at/all: ",
    function() dofile("/nowhere/at/all") end)
  os.remove(dir .. ".lua")
  kit.ok(syntax:find("modules/syntax.lua:3:", 1, true))
end)

kit.case("a module that raises: its error, and again the next time", function()
  for _ = 1, 2 do
    kit.raises("~^modules/raises.lua:5: the module fails$", function() require "modules.raises" end)
  end
  kit.fails("ERAISED", "~modules/raises.lua:5: the module fails", gb.get("HalfDefined", 1):hello())
end)

kit.case("two modules that define one type: both files are named", function()
  kit.ok(require "modules.one")
  local message = kit.raises("~the grain type .Twice. is defined twice",
    function() require "modules.two" end)
  kit.ok(message:find("modules/one.lua", 1, true) and message:find("modules/two.lua", 1, true) and
    message:find("Twice", 1, true), message)
  message = kit.raises("~^modules.lua:%d+: ", function() local _ = gb.grain("Twice") end)
  kit.ok(message:find("modules/one.lua", 1, true), message)
  kit.ok(require "modules.one")
end)

kit.case("loops are found, also between turns", function()
  kit.raises("~loop while loading module 'modules.loop_a'", function() require "modules.loop_a" end)
  kit.raises("~loop while loading module 'modules.loop_self'",
    function() require "modules.loop_self" end)
  local f = gb.spawn(function() return require "modules.loop_a" end)
  local g = gb.spawn(function() return require "modules.loop_b" end)
  for _, future in ipairs { f, g } do
    local _, text, code = future:await("10s")
    kit.eq(code, "ERAISED")
    kit.ok(text:find("loop while loading module", 1, true), text)
  end
end)

kit.case("a module that awaits a grain of its own: an error at once", function()
  local start, refused = gb.monotonic(), 0
  local asked = require("modules.own_top").asked
  asked[#asked + 1] = require("modules.own_below").asked
  for _, got in ipairs(asked) do
    if got[1] ~= "hello" then -- that one lives on this worker, the others on one that is through
      kit.fails("EDEADLOCK", "~would wait for itself: OwnTop/%d %(called for hello%) is of a type "
        .. "whose module has not run to its end", unpack(got, 1, 3))
      refused = refused + 1
    end
  end
  kit.ok(kit.workers > 1 or refused == #asked, refused)
  kit.ok(gb.monotonic() - start < 25, "before any deadline")
  for i = 1, 8 do kit.eq(gb.get("OwnTop", i):hello(), "hello") end
end)

kit.case("types of the main script live on its worker; types made late elsewhere say so", function()
  local Main = gb.grain("MainType", { placement = "hash" })
  function Main:where() return gb.silo().worker end
  for i = 1, 20 do kit.eq(gb.get("MainType", i):where(), 0) end
  require "types.echo"
  kit.eq(kit.elsewhere("Echo"):through(gb.get("MainType", 1), "where"), 0)
  require("modules.late")()
  local here, elsewhere = 0, 0
  for i = 1, 40 do
    local at, message, code = gb.get("LateType", i):where()
    if at then
      kit.eq(at, 0)
      here = here + 1
    else
      kit.fails("ENOTYPE", "~'LateType'.*modules/late.lua", at, message, code)
      elsewhere = elsewhere + 1
    end
  end
  kit.ok(here > 0 and (kit.workers == 1 or elsewhere > 0), here .. " and " .. elsewhere)
end)

kit.finish()
