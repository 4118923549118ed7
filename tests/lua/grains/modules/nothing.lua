loaded_nothing = (loaded_nothing or 0) + 1 -- luacheck: ignore (a global, to be seen outside)
