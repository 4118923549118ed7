-- What commands print for people: columns, and figures with their units.
local M = {}

local function unit(value, step, names)
  local at = 1
  while at < #names and value >= step * 0.9995 do value, at = value / step, at + 1 end
  local digits = (at == 1 or value >= 99.95) and "%.0f" or value >= 9.995 and "%.1f" or "%.2f"
  return (digits .. "%s"):format(value, names[at])
end

--- 1536 is "1.50 kB".
function M.bytes(value)
  return value and unit(value, 1024, { " B", " kB", " MB", " GB", " TB" }) or "-"
end

--- 99,999 as it is, then "100k", "1.25M".
function M.count(value)
  if not value then return "-" end
  if math.abs(value) < 1e5 then return ("%.0f"):format(value) end
  return unit(value, 1000, { "", "k", "M", "G", "T" })
end

--- Seconds: "850 ns", "12.3 us", "4.50 ms", "1.20 s", "3 min", "2 h", "5 d".
function M.time(value)
  if not value then return "-" end
  if value < 59.5 then
    return unit(math.max(value, 0) * 1e9, 1000, { " ns", " us", " ms", " s" })
  end
  for _, step in ipairs { { 5400, 60, "min" }, { 129600, 3600, "h" } } do
    if value < step[1] then return ("%.0f %s"):format(value / step[2], step[3]) end
  end
  return ("%.0f d"):format(value / 86400)
end

function M.percent(value) return value and ("%.0f %%"):format(value) or "-" end

--- A key as its grain's name has it.
function M.key(key) return type(key) == "number" and ("%.0f"):format(key) or tostring(key) end

--- How long ago something was that is known to the second.
function M.age(seconds)
  return seconds < 120 and ("%.0f s"):format(math.max(seconds, 0)) or M.time(seconds)
end

-- Columns of a terminal: bytes but for the continuations of UTF-8.
local function width(text) return #text - select(2, text:gsub("[\128-\191]", "")) end
M.width = width

--- Lines with columns as wide as they need. head: names; one that begins with ">" is to the right.
function M.rows(head, rows)
  local widths, right, out = {}, {}, {}
  local lines = { {} }
  for i, name in ipairs(head) do
    right[i] = name:sub(1, 1) == ">"
    lines[1][i] = right[i] and name:sub(2) or name
  end
  for _, row in ipairs(rows) do lines[#lines + 1] = row end
  for _, row in ipairs(lines) do
    for i = 1, #head do widths[i] = math.max(widths[i] or 0, width(tostring(row[i]))) end
  end
  for _, row in ipairs(lines) do
    local parts = {}
    for i = 1, #head do
      local cell = tostring(row[i])
      local space = (" "):rep(widths[i] - width(cell))
      parts[i] = right[i] and space .. cell or cell .. space
    end
    out[#out + 1] = (table.concat(parts, "  "):gsub(" +$", ""))
  end
  return out
end

--- No more columns than there are.
function M.cut(text, columns)
  if width(text) <= columns then return text end
  local at, seen = 1, 0
  while seen < columns do
    at = text:find("[^\128-\191]", at + 1) or #text + 1
    seen = seen + 1
  end
  return text:sub(1, at - 1)
end

return M
