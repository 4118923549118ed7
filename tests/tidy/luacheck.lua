-- What luacheck knows of this project.
std = "luajit"
max_line_length = false -- tidy.sizes counts columns
read_globals = { "gb" }
files["tests/**/*_spec.lua"] = { std = "+busted" }
files["tests/tidy/luacheck.lua"] = { ignore = { "111", "112", "113" } }
unused_args = false
