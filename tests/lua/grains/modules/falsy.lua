loaded_falsy = (loaded_falsy or 0) + 1 -- luacheck: ignore (a global, to be seen outside)
return false
