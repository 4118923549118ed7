/* A plugin host: the shared library is loaded, used and unloaded again and again. What it started
 * must be gone, or the library must stay: no thread may return into memory that is not there. */
#include <gpubridge.h>

#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

enum { ROUNDS = 20 };

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why ? why : "");
    return 1;
}

/* ISO C knows no cast from an object's address to a function's. */
static int find(void *library, const char *name, void *out)
{
    void *symbol = dlsym(library, name);
    memcpy(out, &symbol, sizeof symbol);
    return symbol ? 0 : fail(name, dlerror());
}

static int threads(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/task");
    for (struct dirent *entry; dir && (entry = readdir(dir));) count += entry->d_name[0] != '.';
    if (dir) closedir(dir);
    return count;
}

static int use(void *library, const char *app_dir, int workers)
{
    void (*config_init)(gb_config *, size_t);
    int (*open)(gb_host **, const gb_config *);
    void (*close)(gb_host *, int);
    int (*call_wait)(gb_host *, const char *, const char *, const char *, gb_value *, int64_t,
                     gb_value **);
    const char *(*detail)(void);
    if (find(library, "gb_config_init", &config_init) || find(library, "gb_open", &open) ||
        find(library, "gb_close", &close) || find(library, "gb_call_wait", &call_wait) ||
        find(library, "gb_err_detail", &detail))
        return 1;
    gb_config config;
    gb_host *host;
    config_init(&config, sizeof config);
    config.workers = workers;
    config.app_dir = app_dir;
    if (open(&host, &config) < 0) return fail("gb_open", detail());
    if (call_wait(host, "Probe", "u", "add", NULL, 0, NULL) < 0)
        return fail("gb_call_wait", detail());
    close(host, 100);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 3) return fail("usage", "unload LIBRARY APP");
    int before = 0; /* after the first round: sanitizers have a thread of their own */
    for (int i = 0; i < ROUNDS; i++) {
        void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
        if (!library) return fail("dlopen", dlerror());
        if (use(library, argv[2], i % 3)) return 1;
        if (dlclose(library) != 0) return fail("dlclose", dlerror());
        if (i == 0) before = threads();
    }
    if (threads() > before) return fail("threads", "some are left");
    return 0;
}
