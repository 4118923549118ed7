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
  if format then message = select("#", ...) > 0 and format:format(...) or tostring(format) end
  error(setmetatable({ code = code, message = message }, meta), 0)
end

return M
