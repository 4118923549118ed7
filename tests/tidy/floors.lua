-- Which room may include which: a room sees lower floors and itself (docs: the architecture).
local text = require("text")

local floors = {
  base = 1,
  sys = 2, wire = 2, capacity = 2, telemetry = 2,
  grain = 3, gpu = 3,
  cluster = 4, store = 4, stream = 4,
  service = 5,
  lua = 6, admin = 6,
  host = 7,
  gbrun = 8,
}
local sees_public = { host = true, gbrun = true }

local function judge(path, included, mark)
  local room = path:match("^src/([^/]+)/")
  if included:match("^uv%.h$") or included:match("^uv/") or included == "sys/sys_uv.h" then
    if path:match("^src/sys/sys_uv[%w_]*%.[ch]$") then return end
    return "only src/sys/sys_uv* may include <uv.h>"
  end
  if not room then return end
  if not floors[room] then return "a room that has no floor: " .. room end
  if included:match("%.%./") then return "includes are written from src/, without .." end
  if included == "gpubridge.h" or included == "include/gpubridge.h" then
    if sees_public[room] then return end
    return "the public header is for host and gbrun; src/" .. room .. " may not include it"
  end
  local other = included:match("^([%w_]+)/")
  if mark == "<" and other == "sys" then return end -- the system's folder, not our room
  if not other or not floors[other] or other == room then return end
  if floors[other] == floors[room] then
    return ("sideways: %s and %s are on floor %d"):format(room, other, floors[room])
  elseif floors[other] > floors[room] then
    return ("up: %s is on floor %d, %s on %d"):format(other, floors[other], room, floors[room])
  end
end

local function check(path, bytes, report)
  if not text.is_c(path) then return end
  -- Comments go, but what stands between the quotes of an #include is needed.
  local raw, bare = text.lines(bytes), text.lines(text.bare(bytes))
  for number, line in ipairs(bare) do
    if line:match("^%s*#%s*include") then
      local mark, included = raw[number]:match('#%s*include%s*([<"])([^>"]+)[>"]')
      local why = included and judge(path, included, mark)
      if why then report(path, number, '#include "' .. included .. '": ' .. why) end
    end
  end
end

return {
  folders = { "src", "tests", "bench", "examples", "include" },
  check = check,
  samples = {
    { "src/wire/a.c", '#include "wire/b.h"\n#include "base/buf.h"\n#include <string.h>\n' },
    { "src/wire/a.c", '#include "grain/grain.h"\n', "up: grain is on floor 3, wire on 2" },
    { "src/wire/a.c", '#  include "sys/op.h"\n', "sideways: wire and sys are on floor 2" },
    { "src/base/a.h", '#include "wire/cbor.h"\n', "up: wire" },
    { "src/base/a.h", "#include <sys/mman.h>\n#include <sys/stat.h>\n" },
    { "src/base/a.h", "#include <grain/grain.h>\n", "up: grain" },
    { "src/base/a.h", '/* #include "wire/cbor.h" */\n// #include "wire/cbor.h"\n' },
    { "src/lua/a.c", '#include "admin/a.h"\n', "sideways" },
    { "src/lua/a.c", '#include "service/a.h"\n#include "gpu/gpu.h"\n' },
    { "src/lua/a.c", '#include "gpubridge.h"\n', "public header" },
    { "src/gbrun/a.c", '#include "gpubridge.h"\n#include "host/host.h"\n' },
    { "src/host/a.c", '#include "gbrun/flags.h"\n', "up: gbrun" },
    { "src/grain/a.c", "#include <uv.h>\n", "only src/sys/sys_uv" },
    { "src/sys/sys_sim.c", '#include "uv.h"\n', "only src/sys/sys_uv" },
    { "bench/a.c", "#include <uv.h>\n", "only src/sys/sys_uv" },
    { "src/sys/sys_uv_file.c", "#include <uv.h>\n" },
    { "src/sys/sys_uv_file.c", '#include "sys/sys_uv.h"\n' },
    { "src/grain/a.c", '#include "sys/sys_uv.h"\n', "only src/sys/sys_uv" },
    { "src/misc/a.c", '#include "base/buf.h"\n', "no floor" },
    { "src/gpu/a.c", '#include "../base/buf.h"\n', "without .." },
    { "tests/wire/a.c", '#include "wire/cbor.h"\n#include "gpubridge.h"\n' },
  },
}
