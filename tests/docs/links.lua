-- links.lua ROOT: every relative link of a page leads to a file of the tree, and every page of
-- docs/ can be reached from README.md.
local root = arg[1]

local function read(path)
  local file = io.open(root .. "/" .. path, "rb")
  if not file then return nil end
  local text = file:read("*a") or ""
  file:close()
  return text
end

local function exists(path)
  local file = io.open(root .. "/" .. path, "rb")
  if file then file:close() end
  return file ~= nil
end

-- "docs/design/../a.md" is "docs/a.md".
local function clean(path)
  local parts = {}
  for part in path:gmatch("[^/]+") do
    if part == ".." then table.remove(parts) elseif part ~= "." then parts[#parts + 1] = part end
  end
  return table.concat(parts, "/")
end

local seen, queue, problems = {}, { "README.md", "CONTRIBUTING.md", "CHANGELOG.md" }, 0
for _, page in ipairs(queue) do seen[page] = true end
while #queue > 0 do
  local page = table.remove(queue, 1)
  local text = read(page)
  if not text then
    print(page .. " is missing")
    problems = problems + 1
  end
  text = (text or ""):gsub("```.-```", ""):gsub("`[^`\n]*`", "code")
  for target in text:gmatch("%]%(([^)%s]+)%)") do
    target = target:gsub("#.*$", "")
    if target ~= "" and not target:match("^%a+:") then
      local path = clean((page:match("^(.*/)") or "") .. target)
      if not exists(path) then
        print(("%s: no file %s"):format(page, path))
        problems = problems + 1
      elseif path:match("%.md$") and not seen[path] then
        seen[path] = true
        queue[#queue + 1] = path
      end
    end
  end
end

local pages = io.popen("cd '" .. root .. "' && find docs -name '*.md'")
for page in pages:lines() do
  if not seen[page] then
    print(page .. " cannot be reached from README.md")
    problems = problems + 1
  end
end
pages:close()
os.exit(problems == 0 and 0 or 1)
