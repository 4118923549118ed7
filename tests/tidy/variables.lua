-- Variables that live as long as the process and can change. A heuristic: declarations outside of
-- braces that are not const, and `static` inside of them that is not.
local variables = {}

-- What may be there, and why. A name that is listed and not found is reported too.
variables.allowed = {
  ["src/base/err.c"] = { detail = "the per-thread error detail (style: State)" },
  ["src/base/check.c"] = { hook = "a process dies once: the panic hook belongs to it" },
}

-- The kernels' side of the border: the cpu backend's built-ins are thread-local at namespace scope
-- (decision 19: only so do compilers vectorise the loop over threads).
function variables.excused_folder(path)
  return path:match("^src/gpu/device/") ~= nil
end

local function without_directives(bare)
  local out, more = {}, false
  for line in (bare .. "\n"):gmatch("([^\n]*)\n") do
    local directive = more or line:match("^%s*#")
    more = directive and line:match("\\%s*$") ~= nil
    out[#out + 1] = directive and "" or line
  end
  return table.concat(out, "\n")
end

-- Calls found(statement, line) for each declaration outside of braces; what stands in braces is
-- shown as {}. A function's body ends its statement and is given to inside(line_text, line).
local function statements(bare, found, inside)
  local depth, start, line, piece, body = 0, 1, 1, {}, false
  for at = 1, #bare do
    local c = bare:sub(at, at)
    if c == "\n" then line = line + 1 end
    if c == "{" then
      if depth == 0 then
        local so_far = table.concat(piece)
        body = so_far:match("%)%s*$") ~= nil or so_far:match('extern%s+"[^"]*"%s*$') ~= nil
        start = at
        if #piece == 0 then piece.line = line end
      end
      depth = depth + 1
    elseif c == "}" then
      depth = depth - 1
      if depth == 0 then
        if body then
          inside(bare:sub(start, at), line)
          piece = {}
        else
          piece[#piece + 1] = "{}"
        end
      end
    elseif depth == 0 then
      if c == ";" then
        found(table.concat(piece), piece.line or line)
        piece = {}
      else
        if #piece == 0 and c:match("%s") then c = "" end
        if c ~= "" then
          if #piece == 0 then piece.line = line end
          piece[#piece + 1] = c
        end
      end
    end
  end
end

local function simplified(statement)
  statement = statement:gsub("_Atomic%s*%b()", "_Atomic type"):gsub("__attribute__%s*%b()", " ")
  statement = statement:gsub("_Alignas%s*%b()", " "):gsub("_Static_assert%s*%b()", " ")
  statement = statement:gsub("static_assert%s*%b()", " "):gsub("alignas%s*%b()", " ")
  return (statement:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", ""))
end

-- The name of the mutable variable that the declaration makes, or nil.
local function mutable(statement)
  local s = simplified(statement)
  local first = s:match("^[%w_]+")
  if not first or first == "typedef" or first == "extern" or first == "using" or
    first == "template" or first == "namespace" then
    return nil
  end
  local declared = s:match("^(.-)%s*=") or s
  local before, after = declared:match("^(.-){}(.*)$")
  if before then -- a struct, union or enum with its members
    if not after:match("[%w_]") then return nil end
    declared = before .. " type " .. after
  end
  local name
  local open = declared:find("(", 1, true)
  if open then -- a prototype or a macro, unless the first parenthesis holds a pointer's name
    name = declared:match("^[^%(]*%(%s*%*%s*([%w_]+)")
    if not name or declared:match("%(%s*%*%s*const") then return nil end
    return name
  end
  name = declared:match("([%w_]+)%s*%[[^%]]*%]") or declared:match("([%w_]+)%s*$")
  if not name or not declared:match("[%w_]+[%s%*]+" .. name) then return nil end
  if declared:match("^struct [%w_]+$") or declared:match("^union [%w_]+$") or
    declared:match("^enum [%w_]+$") then
    return nil
  end
  local behind_star = declared:match(".*%*(.*)$")
  local const = (behind_star or declared):match("%f[%w_]const%f[^%w_]") or
    declared:match("%f[%w_]constexpr%f[^%w_]")
  return not const and name or nil
end

-- Calls report(line, name) for each.
function variables.find(bare, report)
  statements(without_directives(bare), function(statement, line)
    local name = mutable(statement)
    if name then report(line, name) end
  end, function(body, last_line)
    local line = last_line - select(2, body:gsub("\n", ""))
    for row in (body .. "\n"):gmatch("([^\n]*)\n") do
      local declared = row:match("^%s+static%s+[^;=]*")
      local name = declared and mutable(declared)
      if name then report(line, name) end
      line = line + 1
    end
  end)
end

return variables
