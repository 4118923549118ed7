-- tidy.lua RULE ROOT: reads the tree under ROOT and fails, naming file and line, where it breaks
-- the rules of the house. RULE is floors, sizes, banned or luacheck. Each first shows on samples
-- that it finds what it should and nothing else.
local here = arg[0]:match("^(.*)/") or "."
package.path = here .. "/?.lua;" .. package.path
local text = require("text")

local function self_test(name, rule)
  for number, sample in ipairs(rule.samples) do
    local path, bytes, wanted = sample[1], sample[2], sample[3]
    local found = {}
    rule.check(path, bytes, function(where, line, why)
      found[#found + 1] = ("%s:%d: %s"):format(where, line, why)
    end)
    local all = table.concat(found, "\n")
    local good = wanted and all:find(wanted, 1, true) or not wanted and all == ""
    if not good then
      error(("%s: sample %d is wrong\n%s\nwanted: %s\nfound: %s"):format(name, number, bytes,
        wanted or "nothing", all), 0)
    end
  end
  return #rule.samples
end

local function run(name, root)
  local rule = require(name)
  local samples = self_test(name, rule)
  local files, problems = text.files(root, rule.folders), 0
  for _, path in ipairs(files) do
    rule.check(path, text.read(root, path), function(where, line, why)
      problems = problems + 1
      print(("%s:%d: %s"):format(where, line, why))
    end)
  end
  print(("tidy %s: %d samples, %d files, %d problems"):format(name, samples, #files, problems))
  return problems == 0 and #files > 0 and 0 or 1
end

local function run_luacheck(root)
  if os.execute("command -v luacheck >/dev/null 2>&1") ~= 0 then
    print("tidy luacheck: skipped: luacheck is not installed")
    return 77
  end
  local files = {}
  for _, path in ipairs(text.files(root, { "lua", "examples", "tests", "cmake", "bench" })) do
    if path:match("%.lua$") then files[#files + 1] = path end
  end
  local list = os.tmpname()
  local file = assert(io.open(list, "w"))
  file:write("undefined_name = 1\n") -- the sample that must fail
  file:close()
  local command = "luacheck --no-color --codes --config '" .. root .. "/.luacheckrc' "
  local sample = os.execute(command .. "'" .. list .. "' >/dev/null")
  os.remove(list)
  if sample == 0 then
    print("tidy luacheck: the bad sample passes")
    return 1
  end
  if #files == 0 then return 0 end
  local status = os.execute("cd '" .. root .. "' && " .. command .. "-q '" ..
    table.concat(files, "' '") .. "'")
  return status == 0 and 0 or 1
end

local name, root = arg[1], arg[2]
if not root then
  io.stderr:write("usage: tidy.lua floors|sizes|banned|luacheck ROOT\n")
  os.exit(2)
end
local good, result = pcall(name == "luacheck" and run_luacheck or run, name == "luacheck" and root
  or name, root)
if not good then print(result) end
os.exit(good and result or 1)
