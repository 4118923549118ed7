-- packages.lua: the packages that dpkg knows of and what they need. pagerank.lua and graph.lua
-- share it. Files have the format of /var/lib/dpkg/status.
--
-- An edge goes from a package to each one it needs: Depends and Pre-Depends, of alternatives
-- ("a | b") the first that is there, of virtual packages (Provides) the first provider.
local M = {}

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

--- This machine's list, or where there is none data/packages.txt beside the script.
function M.default_path()
  if exists("/var/lib/dpkg/status") then return "/var/lib/dpkg/status" end
  return (arg[0]:match("^(.*)/") or ".") .. "/data/packages.txt"
end

local function read_text(path)
  local file, message = io.open(path, "rb")
  if not file then error(("cannot open the package list: %s"):format(message), 0) end
  local text = file:read("*a")
  file:close()
  if not text then error(("%s cannot be read: is it a file?"):format(path), 0) end
  return text
end

-- The clauses of a package's fields: a list of lists of alternatives.
local function clauses(fields)
  local out = {}
  for _, field in ipairs { "Pre-Depends", "Depends" } do
    for clause in (fields[field] or ""):gmatch("[^,]+") do
      local alternatives = {}
      for one in clause:gmatch("[^|]+") do
        alternatives[#alternatives + 1] = one:match("^%s*([%w.+-]+)")
      end
      out[#out + 1] = alternatives
    end
  end
  return out
end

-- Packages in the order of the file, and who provides what.
local function parse(path)
  local packages, providers, known = {}, {}, {}
  for stanza in (read_text(path) .. "\n\n"):gmatch("(.-)\n\n+") do
    local fields = {}
    for name, value in ("\n" .. stanza):gmatch("\n([%w-]+):[ \t]*([^\n]*)") do
      fields[name] = value
    end
    local installed = not fields.Status or fields.Status:find(" installed$")
    if fields.Package and installed and not known[fields.Package] then -- one per architecture
      known[fields.Package] = true
      packages[#packages + 1] = { name = fields.Package, clauses = clauses(fields) }
      for one in (fields.Provides or ""):gmatch("[^,]+") do
        local virtual = one:match("^%s*([%w.+-]+)")
        if virtual and not providers[virtual] then providers[virtual] = fields.Package end
      end
    end
  end
  if #packages == 0 then error(("%s names no installed packages"):format(path), 0) end
  return packages, providers
end

-- Which node a list of alternatives means, or nil when none is installed.
local function resolve(alternatives, node_of, providers)
  for _, name in ipairs(alternatives) do
    local node = node_of[name] or node_of[providers[name]]
    if node then return node end
  end
end

--- The packages of a file, a list of { name, needs = { node, ... } } in its order; the node of
--- packages[i] is i - 1. And how many edges there are.
function M.read(path)
  local packages, providers = parse(path)
  local node_of, edges = {}, 0
  for i, package in ipairs(packages) do node_of[package.name] = i - 1 end
  for i, package in ipairs(packages) do
    local seen = { [i - 1] = true } -- what needs itself needs nothing
    package.needs = {}
    for _, alternatives in ipairs(package.clauses) do
      local to = resolve(alternatives, node_of, providers)
      if to and not seen[to] then
        seen[to] = true
        table.insert(package.needs, to)
        edges = edges + 1
      end
    end
  end
  return packages, edges
end

return M
