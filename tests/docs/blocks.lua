-- blocks.lua GBRUN PAGE.md...: every Lua block of a page must compile. One that begins with
-- ```lua run is run by gbrun, in the folder that blocks with file=NAME before it were written to,
-- and must print what its "-- expect:" lines say. One with ```lua spec is for gbrun test.
package.path = (arg[0]:match("^.*/") or "./") .. "?.lua;" .. package.path
local run = require "run"

local function blocks(page)
  local found, current, number = {}, nil, 0
  for line in (page .. "\n"):gmatch("([^\n]*)\n") do
    number = number + 1
    local info = line:match("^%s*```(.*)$")
    if current and info then
      current.text = table.concat(current, "\n") .. "\n"
      found[#found + 1], current = current, nil
    elseif info then
      current = { info = info, line = number }
    elseif current then
      current[#current + 1] = line
    end
  end
  assert(not current, "a block without an end")
  return found
end

local function write(path, text)
  local folder = path:match("^(.*)/")
  assert(os.execute("mkdir -p '" .. folder .. "'") == 0)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

-- A block of the page, in the page's folder of files: true when it is good.
local function check(gbrun, page, folder, block)
  local name = ("%s:%d"):format(page, block.line)
  local file = block.info:match("file=(%S+)")
  if file then write(folder .. "/" .. file, block.text) end
  if not block.info:match("^lua") then return true end
  local chunk, message = loadstring(block.text, "=" .. name)
  if not chunk then
    print(message)
    return false
  end
  if block.info:match(" spec") then
    local lines, code = run.run(gbrun, file, folder, "test")
    return code == 0 or run.check(name, lines, code, {}), true
  end
  if not block.info:match(" run") then return true end
  local script = file or ("block_%d.lua"):format(block.line)
  if not file then write(folder .. "/" .. script, block.text) end
  local lines, code = run.run(gbrun, script, folder)
  return run.check(name, lines, code, run.expected(block.text)), true
end

local good, count = true, 0
for i = 2, #arg do
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir -p '" .. folder .. "'") == 0)
  local ended, why = pcall(function()
    for _, block in ipairs(blocks(run.read(arg[i]))) do
      local fine, ran = check(arg[1], arg[i], folder, block)
      good = fine and good
      if ran then count = count + 1 end
    end
  end)
  os.execute("rm -rf '" .. folder .. "'")
  if not ended then error(why, 0) end
end
print(count .. " blocks were run")
os.exit(good and count > 0 and 0 or 1)
