-- Plans: what a map's expression names, and the CUDA C++ of fused stages.
local types = require "gb.types"
local lib = require "gb.lib_core"

local M = {}

-- Words of C++ that may stand in an expression and are no slots.
local words = {}
for word in ([[alignof auto bool char const const_cast decltype double dynamic_cast else false float
    int long reinterpret_cast return short signed sizeof static static_cast true unsigned void
    this for if while do break continue switch case default struct class new delete operator
    template typename using namespace enum union goto inline extern typedef volatile
    NAN INFINITY]]):gmatch "%S+" do
  words[word] = true
end

--- Is a name free to be a slot: an identifier that is no word of C++ and not ours.
function M.is_name(name)
  return name:find "^[%a_][%w_]*$" ~= nil and not words[name] and not name:find "^gb_"
end

--- The names in an expression that can be slots, in the order of their first appearance: no words
--- of C++, functions, members, or parts of a qualified name. upper: it may be a macro.
function M.names(expression)
  local out, seen, at = {}, {}, 1
  while at <= #expression do
    local number = expression:match("^%.?%d[%w%.]*", at)
    local name = not number and expression:match("^[%a_][%w_]*", at)
    if number then
      -- the sign of an exponent belongs to it: 1e-5f
      local more = number:find "[eE]$" and not number:find "^0[xX]" and expression:match("^[+-]%w+",
        at + #number)
      at = at + #number + (more and #more or 0)
    elseif name then
      local before = expression:sub(1, at - 1):match "(%S*)%s*$"
      local after = expression:match("^%s*(%S?%S?)", at + #name)
      local part = before:find "%.$" or before:find "%->$" or before:find "::$"
      if not part and after:sub(1, 1) ~= "(" and after ~= "::" and not words[name]
        and not seen[name] then
        seen[name] = true
        out[#out + 1] = { name = name, upper = name:find "^[A-Z][A-Z0-9_]*$" ~= nil }
      end
      at = at + #name
    else
      at = at + 1
    end
  end
  return out
end

--- "int64" or "uint64" for a 64-bit integer, else nil.
function M.wide(value)
  if not types.wide(value) then return nil end
  return tostring(value):find "ULL$" and "uint64" or "int64"
end

--- An element type as CUDA C++ writes it: number types and vectors; nil for structs.
function M.c_name(kind)
  if kind.id >= 64 then return nil end
  return lib.c_names[kind.name] or kind.name
end

-- What the parameters of a group are, and the lines that load and store an element.
local function parts(group)
  local params, loads, stores, values = {}, {}, {}, {}
  for _, one in ipairs(group.params) do
    local name = one.slot.name
    if one.scalar then
      params[#params + 1] = one.scalar .. " " .. name
    else
      local c = M.c_name(one.slot.kind)
      params[#params + 1] = ("%s%s *gb_%s"):format(one.store and "" or "const ", c, name)
      if one.load then
        loads[#loads + 1] = ("    %s %s = gb_%s[%s];"):format(c, name, name,
          one.single and "0" or "gb_i")
        values[name] = true
      end
      if one.store then
        stores[#stores + 1] = ("    gb_%s[gb_i] = %s;"):format(name, name)
      end
    end
  end
  local maps = {}
  for i, map in ipairs(group.maps) do
    local c = M.c_name(map.slot.kind)
    maps[i] = ("    %s%s = (%s)(%s);"):format(values[map.slot.name] and "" or c .. " ",
      map.slot.name, c, map.expression)
    values[map.slot.name] = true
  end
  return params, loads, maps, stores
end

local map_text = [[
extern "C" __global__ void map(%s)
{
    int gb_i = blockIdx.x * blockDim.x + threadIdx.x;
    if (gb_i >= gb_n) return;
%s
}
]]

-- The maps run inside the fold over a tile: one pass over memory for both.
local reduce_text = [[
#include "gb/reduce.cuh"

struct gb_element {
    %s;
    int gb_first;
    __device__ __forceinline__ %s operator()(int gb_k) const
    {
    int gb_i = gb_first + gb_k;
%s
    return %s;
    }
};

extern "C" __global__ void map(%s, %s *gb_out)
{
    int gb_first = blockIdx.x * gb::tile;
    gb_element gb_load = {%s, gb_first};
    %s gb_all = gb::fold<gb::op_%s, %s>(gb::tile_count(gb_n, gb_first), gb_load);
    if (gb::lane() == 0) gb_out[blockIdx.x] = gb_all;
}
]]

--- The source of one kernel "map" for stages that follow one another: { params = in the order of
--- the kernel's, before the count; maps; reduce = nil | { op, slot, wide } }.
function M.kernel(group)
  local params, loads, maps, stores = parts(group)
  local body = {}
  for _, list in ipairs { loads, maps, stores } do
    for _, line in ipairs(list) do body[#body + 1] = line end
  end
  params[#params + 1] = "int gb_n"
  local list = table.concat(params, ", ")
  if not group.reduce then return map_text:format(list, table.concat(body, "\n")) end
  local names = {}
  for i, param in ipairs(params) do names[i] = param:match "([%w_]+)$" end
  local reduce = group.reduce
  local c = M.c_name(reduce.slot.kind)
  local joined = ("gb::op_%s::local<%s>::type"):format(reduce.op, c)
  return reduce_text:format(table.concat(params, ";\n    "), joined, table.concat(body, "\n"),
    reduce.slot.name, list, lib.c_names[reduce.wide], table.concat(names, ", "), joined, reduce.op,
    joined)
end

return M
