/* Preloaded by scripts/test.sh: every Lua state that a program makes gets the mode of LuaJIT's
 * compiler that GB_JIT_MODE names: "off" (-joff), or an option such as "hotloop=1". So the Lua
 * tests run in all modes without the library knowing of it. */
#include <dlfcn.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void open_libs_fn(lua_State *L);

__attribute__((visibility("default"))) void luaL_openlibs(lua_State *L);

void luaL_openlibs(lua_State *L)
{
    void *real = dlsym(RTLD_NEXT, "luaL_openlibs");
    open_libs_fn *open_libs;
    memcpy(&open_libs, &real, sizeof open_libs);
    open_libs(L);
    const char *mode = getenv("GB_JIT_MODE");
    if (!mode) return;
    char chunk[128];
    if (strcmp(mode, "off") == 0)
        snprintf(chunk, sizeof chunk, "jit.off()");
    else
        snprintf(chunk, sizeof chunk, "require('jit.opt').start('%s')", mode);
    if (luaL_loadstring(L, chunk) != 0 || lua_pcall(L, 0, 0, 0) != 0) {
        fprintf(stderr, "jit_mode: %s\n", lua_tostring(L, -1));
        abort();
    }
}
