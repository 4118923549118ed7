-- Errors as the user should see them: texts of error values, and tracebacks without the frames of
-- this library.
local M = {}

local own = { ["gb.script"] = true }
for name in pairs(package.preload) do
  if name:find("^gb") then own[name] = true end
end

--- Is this the name of a chunk of ours?
function M.is_own(chunk) return own[chunk] == true end

local function scalar(value)
  if type(value) == "string" then return ("%q"):format(value) end
  return tostring(value)
end

-- A table that was raised: its first fields, in the order of their names.
local function table_text(value)
  local names, parts = {}, {}
  for name in next, value do names[#names + 1] = tostring(name) end
  table.sort(names)
  local by_text = {}
  for name, field in next, value do by_text[tostring(name)] = field end
  for i = 1, math.min(#names, 8) do parts[i] = names[i] .. " = " .. scalar(by_text[names[i]]) end
  if #names > 8 then parts[9] = "..." end
  if #names == 0 then return "a table was raised as an error: {}" end
  return "a table was raised as an error: { " .. table.concat(parts, ", ") .. " }"
end

--- The text of any error value.
function M.text(value)
  if type(value) == "string" then return value end
  local meta = debug.getmetatable(value)
  if type(meta) == "table" and rawget(meta, "__tostring") then
    local ok, text = pcall(tostring, value)
    if ok and type(text) == "string" then return text end
  end
  if type(value) == "table" then return table_text(value) end
  if value == nil then return "nil was raised as an error" end
  return tostring(value)
end

--- A traceback without our frames, and without the C functions that they called.
function M.frames(traceback)
  local kept = {}
  for line in (traceback or ""):gmatch("[^\n]+") do
    local chunk = line:match("^%s+([%w_.]+):")
    if chunk and own[chunk] then
      local last = kept[#kept]
      if last and last:find("^%s+%[C%]:") then
        kept[#kept] = nil
      elseif last and chunk == "gb.script" then
        kept[#kept] = last:gsub("in function 'main'$", "in main chunk")
      end
    else
      kept[#kept + 1] = line
    end
  end
  return table.concat(kept, "\n")
end

--- LuaJIT does not know the line where a coroutine died: the message does.
function M.with_line(text, frames)
  local chunk, line = text:match("^([^\n]-):(%d+): ")
  if not chunk then return frames end
  return (frames:gsub("^([^\n]*\n%s+)([^\n]-): in ", function(before, where)
    if where == chunk then return ("%s%s:%s: in "):format(before, chunk, line) end
  end))
end

--- A message that begins with a place in this library begins with the user's line instead.
function M.message(text, frames)
  local chunk, rest = text:match("^([%w_.]+):%d+: (.*)$")
  if not chunk or not own[chunk] then return text end
  for line in frames:gmatch("[^\n]+") do
    local place = line:match("^%s+([^%[%s].-:%d+):")
    if place then return place .. ": " .. rest end
  end
  return rest
end

return M
