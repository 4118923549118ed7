-- Failures that a method gives its caller on purpose: gb.fail("MY_CODE", "text %d", 3).
local M = {}

local meta = { __gb = "failure" }

function meta:__tostring() return self.code .. ": " .. self.message end

function M.is(value) return type(value) == "table" and getmetatable(value) == meta end

function M.raise(code, format, ...)
  if type(code) ~= "string" or code == "" then
    error("gb.fail takes a code: gb.fail(\"NO_MONEY\", \"%d missing\", 3)", 2)
  end
  local message = code
  if format then
    message = tostring(format)
    if select("#", ...) > 0 then
      local ok, text = pcall(string.format, format, ...)
      if not ok then -- "bad argument #2 to 'format'": the code stands before it
        text = text:gsub("^[^ ]+:%d+: ", ""):gsub("#(%d+) to '[^']*'", function(number)
          return ("#%d to 'gb.fail'"):format(number + 1)
        end)
        error(text, 2)
      end
      message = text
    end
  end
  error(setmetatable({ code = code, message = message }, meta), 0)
end

return M
