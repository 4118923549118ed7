-- meta.lua GBRUN FOLDER: the meta files of the folder name what the live module has, and nothing
-- else. It asks gbrun, with the script live.lua, for one line "CLASS NAME" for each live name.
package.path = (arg[0]:match("^.*/") or "./") .. "?.lua;" .. package.path
local run = require "run"

-- Names by class, as the annotations say: ---@field NAME under ---@class, and functions of the
-- table that the class was given to.
local function documented(folder)
  local classes, of_local, files = {}, {}, {}
  local list = io.popen("ls '" .. folder .. "'/*.lua")
  for path in list:lines() do
    files[path:match("([^/]+)%.lua$")] = true
    local class
    for line in run.read(path):gmatch("[^\n]+") do
      class = line:match("^%-%-%-@class ([%w_.]+)") or class
      local field = line:match("^%-%-%-@field ([%a_][%w_]*)")
      local bound = line:match("^local ([%w_]+) = {}")
      local owner, name = line:match("^function ([%w_]+)[.:]([%w_]+)%(")
      if line:match("^%-%-%-@class") then classes[class] = classes[class] or {} end
      if bound then of_local[bound] = class end
      if field and class then classes[class][field] = path end
      if owner then
        local known = of_local[owner]
        if owner == "gb" then known = "gb" end
        if known then classes[known][name] = path end
      end
    end
  end
  list:close()
  return classes, files
end

local function live(gbrun)
  local lines, code = run.run(gbrun, (arg[0]:match("^.*/") or "./") .. "live.lua")
  assert(code == 0, table.concat(lines, "\n"))
  local classes = {}
  for _, line in ipairs(lines) do
    local class, name = line:match("^(%S+) (%S+)$")
    assert(class, line)
    classes[class] = classes[class] or {}
    classes[class][name] = true
  end
  return classes
end

local meta, files = documented(arg[2])
local problems = 0

local function missing(what, where)
  problems = problems + 1
  print(("%s is not in %s"):format(what, where))
end

-- What gb_kernels.lua documents; before there is one, nothing asks for it.
local kernel_half = { array = true, move = true, buffer = true, kernels = true, queue = true,
  device = true, devices = true }

for class, names in pairs(live(arg[1])) do
  local known = meta[class]
  if known then
    for name in pairs(names) do
      local later = class == "gb" and kernel_half[name] and not files.gb_kernels
      if not known[name] and not later then missing(class .. "." .. name, "the meta files") end
    end
    for name, path in pairs(known) do
      if not names[name] then missing(class .. "." .. name .. " of " .. path, "the live module") end
    end
  elseif files.gb_kernels or not class:match("^gb%.[ABKQ]") then
    missing("class " .. class, "the meta files")
  end
end
os.exit(problems == 0 and 0 or 1)
