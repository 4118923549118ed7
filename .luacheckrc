-- What luacheck knows of this project; the test tidy.luacheck and editors read it.
std = "luajit"
max_line_length = false -- tidy.sizes counts columns
read_globals = { "gb" }
unused_args = false
ignore = { "581" } -- not (x <= y) holds for NaN, x > y does not
exclude_files = { "build" }
files["tests/**/*_spec.lua"] = { std = "+busted" }
files["lua/gb/boot.lua"] = { globals = { "ipairs", "pairs" } }
files["lua/gb/coroutine.lua"] = { globals = { "coroutine" } }
files["lua/gb/loader.lua"] = { globals = { "require", "dofile" } }
files["lua/meta"] = { globals = { "gb" }, ignore = { "211", "241" } } -- only annotations read them
files["tests/docs/live.lua"] = { globals = { "print" } }
