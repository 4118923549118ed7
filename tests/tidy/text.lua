-- Reading the tree and seeing C text without its comments and strings.
local text = {}

local function quoted(path)
  return "'" .. path:gsub("'", "'\\''") .. "'"
end

-- Every file under root's folders, as paths relative to root, sorted. Build outputs are left out.
function text.files(root, folders)
  local found = {}
  for _, folder in ipairs(folders) do
    local pipe = assert(io.popen("cd " .. quoted(root) .. " && find " .. quoted(folder) ..
      " -type f -not -path '*/build/*' -not -path '*/.*' 2>/dev/null"))
    for path in pipe:lines() do found[#found + 1] = path end
    pipe:close()
  end
  table.sort(found)
  return found
end

function text.read(root, path)
  local file = assert(io.open(root .. "/" .. path, "rb"))
  local bytes = file:read("*a")
  file:close()
  return bytes
end

function text.lines(bytes)
  local lines = {}
  for line in (bytes:gsub("\n$", "") .. "\n"):gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
  return lines
end

local function blank(piece)
  return (piece:gsub("[^\n]", " "))
end

-- The end of a quoted string or character that starts at `from`.
local function quote_end(bytes, from, mark)
  local at = from + 1
  while true do
    local stop = bytes:find("[\\\n" .. mark .. "]", at)
    if not stop then return #bytes end
    if bytes:sub(stop, stop) ~= "\\" then return stop end
    at = stop + 2
  end
end

-- C and C++ with comments and what stands inside quotes as blanks; line numbers stay.
function text.bare(bytes)
  local out, at = {}, 1
  while true do
    local from = bytes:find('[/"\']', at)
    if not from then break end
    out[#out + 1] = bytes:sub(at, from - 1)
    local two, one = bytes:sub(from, from + 1), bytes:sub(from, from)
    local stop
    if two == "/*" then
      stop = select(2, bytes:find("*/", from + 2, true)) or #bytes
      out[#out + 1] = blank(bytes:sub(from, stop))
    elseif two == "//" then
      stop = (bytes:find("\n", from, true) or #bytes + 1) - 1
      out[#out + 1] = blank(bytes:sub(from, stop))
    elseif one == "/" or (one == "'" and bytes:sub(from - 1, from):match("^%x'")) then
      stop = from -- a division, or the separator in 1'000
      out[#out + 1] = one
    elseif one == '"' and bytes:sub(from - 1, from - 1) == "R" then
      local mark = bytes:match('^"([^%(]*)%(', from) or ""
      stop = select(2, bytes:find(")" .. mark .. '"', from, true)) or #bytes
      out[#out + 1] = '"' .. blank(bytes:sub(from + 1, stop - 1)) .. '"'
    else
      stop = quote_end(bytes, from, one)
      out[#out + 1] = one .. blank(bytes:sub(from + 1, stop - 1)) .. bytes:sub(stop, stop)
    end
    at = stop + 1
  end
  out[#out + 1] = bytes:sub(at)
  return table.concat(out)
end

-- Columns, not bytes: UTF-8 continuation bytes take none.
function text.columns(line)
  return #(line:gsub("[\128-\191]", ""))
end

function text.is_c(path)
  return path:match("%.[chS]$") or path:match("%.cuh?$") or path:match("%.[ch]pp$") or
    path:match("%.cc$")
end

return text
