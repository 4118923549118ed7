/* The configuration file: a Lua chunk that returns a table. What stands under `app` is the user's
 * own: it becomes text that every worker's Lua state reads again. */
#include "gbrun/gbrun.h"

#include "base/err.h"
#include "base/unit.h"

#include <ctype.h>
#include <lauxlib.h>
#include <lualib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 20, PATH_BYTES = 256 };

/* Settings of api.md whose features come later: naming one must not be taken for a spelling
 * mistake. */
static const char *const later[] = {"admin", "devices", "stores", "streams", NULL};

typedef struct reader {
    lua_State *L;
    gbrun_options *options;
    const char *path; /* of the file */
    const char *shown;
} reader;

static int fail(const reader *r, const char *name, const char *text)
{
    fprintf(stderr, "gbrun: %s: %s%s%s\n", r->shown, name, *name ? ": " : "", text);
    return GBRUN_USAGE;
}

/* ---- app ---- */

static void put_string(gb_buf *out, const char *text, size_t size)
{
    gb_buf_put(out, "\"", 1);
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (isalnum(c) || c == ' ' || c == '_' || c == '.' || c == '/' || c == '-')
            gb_buf_put(out, &c, 1);
        else
            gb_buf_printf(out, "\\%03d", c);
    }
    gb_buf_put(out, "\"", 1);
}

static void put_number(gb_buf *out, double number)
{
    if (isnan(number))
        gb_buf_printf(out, "0/0");
    else if (isinf(number))
        gb_buf_printf(out, number > 0 ? "1/0" : "-1/0");
    else
        gb_buf_printf(out, "%.17g", number);
}

/* GB_APP_PATH instead of the value on top, read as the same type: 0, 1 when it was there, negative
 * when wrong. */
static int from_environment(reader *r, const char *path)
{
    char name[PATH_BYTES + 8];
    snprintf(name, sizeof name, "GB_%s", path);
    for (char *c = name; *c; c++)
        *c = isalnum((unsigned char)*c) ? (char)toupper((unsigned char)*c) : '_';
    for (int i = 0; i < GBRUN_SETTINGS; i++) {
        char other[64];
        gbrun_setting_env(&gbrun_settings[i], other, sizeof other);
        if (strcmp(name, other) == 0) return 0; /* GB_APP_DIR is no setting of the user's */
    }
    const char *text = getenv(name);
    if (!text) return 0;
    int type = lua_type(r->L, -1);
    char *end = NULL;
    double number = strtod(text, &end);
    bool yes = strcmp(text, "true") == 0, no = strcmp(text, "false") == 0;
    if ((type == LUA_TNUMBER && (end == text || *end)) || (type == LUA_TBOOLEAN && !yes && !no)) {
        fprintf(stderr, "gbrun: %s: a %s is wanted, not '%s'\n", name, luaL_typename(r->L, -1),
                text);
        return -1;
    }
    lua_pop(r->L, 1);
    if (type == LUA_TNUMBER)
        lua_pushnumber(r->L, number);
    else if (type == LUA_TBOOLEAN)
        lua_pushboolean(r->L, yes);
    else
        lua_pushstring(r->L, text);
    gb_buf_printf(&r->options->app_lines, "%s\x01%s\x01", path, name);
    return 1;
}

static void put_scalar(lua_State *L, gb_buf *out)
{
    size_t size;
    if (lua_type(L, -1) == LUA_TNUMBER)
        put_number(out, lua_tonumber(L, -1));
    else if (lua_type(L, -1) == LUA_TBOOLEAN)
        gb_buf_printf(out, lua_toboolean(L, -1) ? "true" : "false");
    else
        put_string(out, lua_tolstring(L, -1, &size), lua_objlen(L, -1));
}

static int put_value(reader *r, const char *path, int depth);

/* The key at -2: as text for the chunk, and appended to the path. */
static int put_key(reader *r, const char *path, char *below)
{
    lua_State *L = r->L;
    gb_buf *out = &r->options->lua_config;
    if (lua_type(L, -2) == LUA_TSTRING) {
        const char *key = lua_tostring(L, -2);
        snprintf(below, PATH_BYTES, "%s.%s", path, key);
        gb_buf_put(out, "[", 1);
        put_string(out, key, lua_objlen(L, -2));
    } else if (lua_type(L, -2) == LUA_TNUMBER) {
        snprintf(below, PATH_BYTES, "%s[%.14g]", path, lua_tonumber(L, -2));
        gb_buf_put(out, "[", 1);
        put_number(out, lua_tonumber(L, -2));
    } else {
        return fail(r, path, "a key that is neither a string nor a number");
    }
    gb_buf_printf(out, "]=");
    return 0;
}

static int put_table(reader *r, const char *path, int depth)
{
    lua_State *L = r->L;
    char below[PATH_BYTES];
    if (depth > DEPTH_MAX || !lua_checkstack(L, 8))
        return fail(r, path, "too deep (or it contains itself)");
    gb_buf_put(&r->options->lua_config, "{", 1);
    int code = 0;
    for (lua_pushnil(L); code == 0 && lua_next(L, -2); lua_settop(L, -2)) {
        code = put_key(r, path, below);
        if (code == 0) code = put_value(r, below, depth + 1);
        gb_buf_put(&r->options->lua_config, ",", 1);
    }
    gb_buf_put(&r->options->lua_config, "}", 1);
    return code;
}

/* The value on top of the stack, as the text of a Lua expression. */
static int put_value(reader *r, const char *path, int depth)
{
    int type = lua_type(r->L, -1);
    if (type == LUA_TTABLE) return put_table(r, path, depth);
    if (type != LUA_TSTRING && type != LUA_TNUMBER && type != LUA_TBOOLEAN) {
        char text[80];
        snprintf(text, sizeof text, "a %s cannot be a setting", luaL_typename(r->L, -1));
        return fail(r, path, text);
    }
    int replaced = from_environment(r, path);
    if (replaced < 0) return GBRUN_USAGE;
    gb_buf *lines = &r->options->app_lines;
    if (!replaced) gb_buf_printf(lines, "%s\x01%s\x01", path, r->shown);
    put_scalar(r->L, lines);
    gb_buf_put(lines, "\n", 1);
    put_scalar(r->L, &r->options->lua_config);
    return 0;
}

static int read_app(reader *r)
{
    gb_buf *out = &r->options->lua_config;
    if (!lua_istable(r->L, -1)) return fail(r, "app", "a table of your own settings is wanted");
    gb_buf_printf(out, "{app=");
    int code = put_table(r, "app", 0);
    gb_buf_printf(out, "}");
    return code;
}

/* ---- tenants ---- */

/* What stands behind the name at -2, as "=2GB", or nothing when it has no cap. */
static int put_cap(reader *r, const char *name, gb_buf *out)
{
    static const char *const known[] = {"memory", NULL};
    lua_State *L = r->L;
    char at[PATH_BYTES];
    snprintf(at, sizeof at, "tenants.%s", name);
    if (!lua_istable(L, -1)) return fail(r, at, "a table is wanted: { memory = \"2GB\" }, or {}");
    for (lua_pushnil(L); lua_next(L, -2); lua_settop(L, -2)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        int64_t bytes;
        snprintf(at, sizeof at, "setting of tenants.%s in %s", name, r->shown);
        if (strcmp(key, known[0]) != 0) return gbrun_unknown(at, "", key, known);
        lua_pushvalue(L, -1);
        const char *size = lua_tostring(L, -1);
        snprintf(at, sizeof at, "tenants.%s.memory", name);
        if (!size || !gb_size_parse(size, &bytes) || bytes < 1)
            return fail(r, at, "a size is wanted (bytes, or \"512MB\"), from 1 byte");
        gb_buf_printf(out, "=%s", size);
        lua_pop(L, 1);
    }
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The table becomes the text that the variable and the flag take, in the order of the names. */
static int read_tenants(reader *r, const gbrun_setting *setting)
{
    lua_State *L = r->L;
    const char *names[GB_TENANTS_MAX];
    int count = 0, code = 0;
    if (!lua_istable(L, -1))
        return fail(r, "tenants", "a table is wanted: { acme = { memory = \"2GB\" } }");
    for (lua_pushnil(L); lua_next(L, -2); lua_settop(L, -2)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        if (gb_tenant_check(name) < 0) return fail(r, "tenants", gb_err_detail());
        if (count == GB_TENANTS_MAX) return fail(r, "tenants", "there are too many");
        names[count++] = name;
    }
    if (count == 0) return fail(r, "tenants", "names nobody: { acme = { memory = \"2GB\" } }");
    qsort(names, (size_t)count, sizeof *names, compare_names);
    gb_buf list;
    gb_buf_init(&list, &r->options->mem);
    for (int i = 0; i < count && code == 0; i++) {
        gb_buf_printf(&list, "%s%s", i ? "," : "", names[i]);
        lua_getfield(L, -1, names[i]);
        code = put_cap(r, names[i], &list);
        if (code == 0) lua_pop(L, 1);
    }
    if (code == 0) code = gbrun_setting_set(r->options, setting, gb_buf_text(&list), r->shown);
    gb_buf_fini(&list);
    return code;
}

/* ---- ours ---- */

static int unknown_setting(const reader *r, const char *name)
{
    const char *names[GBRUN_SETTINGS + 2];
    char prefix[300];
    for (int i = 0; later[i]; i++) {
        if (strcmp(later[i], name) != 0) continue;
        fprintf(stderr, "gbrun: %s: %s is not in this version yet (ENOTYET)\n", r->shown, name);
        return GBRUN_USAGE;
    }
    for (int i = 0; i < GBRUN_SETTINGS; i++) {
        names[i] = gbrun_settings[i].name;
        if (strcmp(gbrun_settings[i].flag, name) != 0) continue;
        fprintf(stderr, "gbrun: %s: %s is a flag; the setting is called '%s'\n", r->shown, name,
                names[i]);
        return GBRUN_USAGE;
    }
    names[GBRUN_SETTINGS] = "app";
    names[GBRUN_SETTINGS + 1] = NULL;
    snprintf(prefix, sizeof prefix, "setting in %s", r->shown);
    return gbrun_unknown(prefix, "", name, names);
}

static int read_field(reader *r)
{
    lua_State *L = r->L;
    if (lua_type(L, -2) != LUA_TSTRING)
        return fail(r, "", "the table's keys are names of settings");
    const char *name = lua_tostring(L, -2);
    if (strcmp(name, "app") == 0) return read_app(r);
    const gbrun_setting *setting = gbrun_setting_find(name);
    if (!setting) return unknown_setting(r, name);
    if (setting->type == GBRUN_TENANTS && lua_type(L, -1) != LUA_TSTRING)
        return read_tenants(r, setting);
    if (lua_type(L, -1) == LUA_TBOOLEAN)
        return gbrun_setting_set(r->options, setting, lua_toboolean(L, -1) ? "yes" : "no",
                                 r->shown);
    if (!lua_isstring(L, -1)) return fail(r, name, "a text, a number, true or false is wanted");
    lua_pushvalue(L, -1); /* tostring would change a number in place */
    int code = gbrun_setting_set(r->options, setting, lua_tostring(L, -1), r->shown);
    lua_pop(L, 1);
    return code;
}

static int read_table(reader *r)
{
    lua_State *L = r->L;
    char chunk[PATH_BYTES];
    snprintf(chunk, sizeof chunk, "@%s", r->shown);
    FILE *file = fopen(r->path, "rb");
    if (!file) return fail(r, "", "cannot be opened");
    fclose(file);
    if (luaL_loadfile(L, r->path) != 0 || lua_pcall(L, 0, 1, 0) != 0) {
        const char *text = lua_tostring(L, -1);
        fprintf(stderr, "gbrun: %s\n", text ? text : "the configuration file raised an error");
        return GBRUN_USAGE;
    }
    if (!lua_istable(L, -1)) return fail(r, "", "the file must return a table");
    int code = 0;
    for (lua_pushnil(L); code == 0 && lua_next(L, -2); lua_settop(L, -2)) code = read_field(r);
    return code;
}

int gbrun_config_read(gbrun_options *options, const char *path)
{
    const char *slash = strrchr(path, '/');
    reader r = {luaL_newstate(), options, path, slash ? slash + 1 : path};
    if (!r.L) {
        fprintf(stderr, "gbrun: out of memory\n");
        return GBRUN_FAILED;
    }
    luaL_openlibs(r.L);
    options->config_path = path;
    int code = read_table(&r);
    lua_close(r.L);
    return code;
}
