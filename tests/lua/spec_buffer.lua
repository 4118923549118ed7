-- luacheck: globals scratch
local spec = require "spec"
local gb = require "gb"
local equal, list, raised = spec.equal, spec.list, spec.raised

local d = assert(gb.buffer("float", 6))
equal(#d, 6) equal(gb.type(d), "buffer") equal(d:type(), "float") equal(d:device(),
  gb.device().index)
assert(tostring(d):find("buffer float[6] on device 0 (device)", 1, true), tostring(d))
list(d:download():totable(), { 0, 0, 0, 0, 0, 0 }, "zeroed")
equal(d:upload(gb.array("float", { 1, 2, 3 })), true)
equal(d:upload({ 4, 5 }, { offset = 4 }), true)
list(d:download():totable(), { 1, 2, 3, 0, 4, 5 })
local a = gb.array("float", 2)
equal(d:download(a, { offset = 1 }), true)
list(a:totable(), { 2, 3 })
list(d:download(nil, { offset = 4, count = 1 }):totable(), { 4 })
equal(d:fill(7, { offset = 2, count = 2 }), true)
list(d:download():totable(), { 1, 2, 7, 7, 4, 5 })
local e = assert(gb.buffer("float", { 10, 20, 30 }))
equal(e:copy_from(d, { count = 2, from_offset = 4, offset = 1 }), true)
list(e:download():totable(), { 10, 4, 5 })
equal(e:copy_from(d, { count = 3 }), true)
list(e:download():totable(), { 1, 2, 7 })

-- futures
local f = d:upload(gb.array("float", 6):fill(3), { async = true })
equal(f:await(), true)
equal(d:download(a, { async = true, count = 2 }):await(), true)
list(a:totable(), { 3, 3 })
equal(d:fill(4, { async = true }):await(), true)
equal(d:copy_from(e, { async = true }):await(), true)
local q = assert(gb.queue { device = 0 })
assert(d:fill(9, { queue = q }))
equal(d:download(nil, { queue = q })[5], 9)
assert(tostring(q) == "queue on device 0")

-- kinds
for _, kind in ipairs { "device", "pinned", "unified" } do
  local k = assert(gb.buffer("double", { 1, 2 }, { kind = kind }))
  list(k:download():totable(), { 1, 2 }, kind)
end
equal(gb.buffer("float4", 2, { device = 0 }):type(), "float4")
equal(gb.buffer("uint64", { 18446744073709551615ULL }):download()[0], 18446744073709551615ULL)
equal(#assert(gb.buffer("float", gb.array("float", 3))), 3)
equal(#assert(gb.buffer("float", 0)), 0)
local v = assert(gb.buffer("float2", 2))
assert(v:fill { 1, 2 })
equal(v:download()[1].y, 2)

-- sharing and freeing
local s = d:share()
raised("upload: the buffer is shared read-only", function() s:upload(a) end)
raised("fill: the buffer is shared read-only", function() s:fill(1) end)
raised("copy_from: the buffer is shared read-only", function() s:copy_from(e) end)
equal(d:free(), true) equal(d:free(), true)
equal(s:download()[0], 9, "the memory goes with its last holder")
equal(tostring(d), "buffer float (freed)") equal(#d, 0)
raised("download: the buffer was freed", function() d:download() end)
raised("upload: the buffer was freed", function() d:upload(a) end)
raised("share: the buffer was freed", function() d:share() end)

-- wrong use
raised("offset 4 is outside the buffer: valid 0 .. 3", function() e:upload(a, { offset = 4 }) end)
raised("count 2 from offset 2 passes the end of the buffer: valid 0 .. 1", function() e:upload(a,
  { offset = 2 }) end)
raised("count 3 is more than the other side has: valid 0 .. 2", function() e:upload(a,
  { count = 3 }) end)
raised("count is an integer, got 1.5", function() e:upload(a, { count = 1.5 }) end)
raised("offset is an integer, got string", function() e:fill(1, { offset = "1" }) end)
raised("upload: expected float array, got double array", function() e:upload(gb.array("double",
  2)) end)
raised("upload: expected float array, got nil", function() e:upload() end)
raised("upload: expected float array, got buffer", function() e:upload(s) end)
raised("element 2: a float element takes a number, got string", function() e:upload { 1, "2" } end)
raised("download: expected float array, got table", function() e:download {} end)
raised("download: the array is frozen", function() e:download(gb.array("float", 1):freeze()) end)
raised("download with async = true needs an array to fill", function() e:download(nil,
  { async = true }) end)
raised("unknown option 'ofset'; did you mean 'offset'? (upload)", function() e:upload(a,
  { ofset = 1 }) end)
raised("copy_from: expected float buffer, got double buffer",
  function() e:copy_from(gb.buffer("double", 1)) end)
raised("copy_from: expected a buffer, got number", function() e:copy_from(5) end)
raised("from_offset 9 is outside the other buffer: valid 0 .. 6", function() e:copy_from(s,
  { from_offset = 9 }) end)
raised("unknown buffer method 'uplod'; did you mean 'upload'?", function() e:uplod(a) end)
raised("a buffer lies on its device: download it", function() return e[0] end)
raised("a buffer lies on its device: upload an array", function() e[0] = 1 end)
raised("call it as buffer:fill(...), with a colon", function() e.fill(5) end)
raised("a float element takes a number, got table", function() e:fill {} end)
raised("unknown kind of buffer 'devise'; did you mean 'device'?", function() gb.buffer("float", 1,
  { kind = "devise" }) end)
raised("there is no device 99: valid 0 .. ", function() gb.buffer("float", 1, { device = 99 }) end)
raised("device is an index, got string", function() gb.buffer("float", 1, { device = "0" }) end)
raised("the count of a buffer is an integer from 0, got -1", function() gb.buffer("float", -1) end)
raised("gb.buffer takes a count, a list or an array, got nil", function() gb.buffer("float") end)
raised("unknown type 'floot'; did you mean 'float'?", function() gb.buffer("floot", 1) end)
raised("queue: expected gb.queue(), got number", function() e:fill(1, { queue = 1 }) end)
local _, message, code = gb.buffer("double", 1e15)
equal(code, "ENOMEM", message)

-- files
local path = scratch "buffer"
local kept = assert(gb.buffer("float", { 1, 2, 3, 4 }))
equal(kept:save(path, { offset = 1 }), true)
local g = assert(gb.buffer("float", 4))
g:fill(9, { async = true })
equal(g:load(path, { count = 2, from = 4, async = true }):await(), true)
list(g:download():totable(), { 3, 4, 9, 9 })
equal(select(3, g:load(path)), "EINVAL", "the file has three elements")
equal(select(3, g:load(path .. ".none")), "ENOENT")
raised("load takes the path of a file, got nil", function() g:load() end)
raised("from is a byte of the file, got inf", function()
  g:load(path, { from = math.huge })
end)
raised("save writes a whole file", function() g:save(path, { from = 1 }) end)
raised("unknown option 'form'", function() g:load(path, { form = 1 }) end)
raised("from is a byte of the file, got -1", function() g:load(path, { from = -1 }) end)
raised("load: the buffer is shared read-only", function() g:share():load(path) end)

-- passing to another grain needs share or move; both ways of dying are told apart
local moved = assert(gb.buffer("float", 1))
equal(tostring(gb.move(moved)), "gb.move")

-- devices
local devices = gb.devices()
equal(devices[#devices].backend, "cpu", "a cpu device is the last")
equal(gb.device().index, 0)
assert(devices[1].memory_total > 0 and devices[1].name ~= "")
spec.done()
