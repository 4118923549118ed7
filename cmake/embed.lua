-- embed.lua KIND OUT FILE...: writes the files into one C table. KIND "lua" compiles them to
-- bytecode first; the names of "starter" keep their folders.
local kind, out, first = arg[1], arg[2], 3
local tables = { lua = "gb_embedded_lua", text = "gb_embedded_headers", starter = "gbrun_starter" }
local table_name = tables[kind]

local function read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read("*a")
  file:close()
  return bytes
end

local parts, rows = {}, {}
parts[#parts + 1] = '#include "base/embed.h"\n'
for i = first, #arg do
  local name = arg[i]:match(kind == "starter" and "/starter/(.+)$" or "([^/]+)$")
  local bytes = read(arg[i])
  if name:match("%.cuh$") then name = "all.gb/" .. name end -- the kernels of gb.lib
  if kind == "lua" then
    name = "gb." .. name:gsub("%.lua$", "")
    if name == "gb.init" then name = "gb" end
    bytes = string.dump(assert(loadstring(bytes, "=" .. name)), false)
  end
  parts[#parts + 1] = ("static const unsigned char file_%d[] = {"):format(i)
  local line = {}
  for at = 1, #bytes do
    line[#line + 1] = bytes:byte(at)
    if #line == 64 then
      parts[#parts + 1] = table.concat(line, ",") .. ","
      line = {}
    end
  end
  parts[#parts + 1] = table.concat(line, ",") .. (#line > 0 and "," or "") .. "0};\n"
  rows[#rows + 1] = ('    {"%s", (const char *)file_%d, %d},'):format(name, i, #bytes)
end
parts[#parts + 1] = ("const gb_embedded %s[] = {"):format(table_name)
parts[#parts + 1] = table.concat(rows, "\n")
parts[#parts + 1] = "    {0, 0, 0},\n};"
local file = assert(io.open(out, "wb"))
file:write(table.concat(parts, "\n"), "\n")
file:close()
