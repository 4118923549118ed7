#include "gpu/cpu_compile.h"

#include "base/embed.h"
#include "base/err.h"
#include "gpu/cpu_options.h"
#include "gpu/cpu_tool.h"
#include "gpu/cpu_wrap.h"
#include "gpu/image_cache.h"
#include "gpu/source.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LEVEL_OLDEST = 2 }; /* of images for other machines */
enum { COMPILE_MS = 5 * 60 * 1000, ARGUMENTS_MAX = 512 };
static const int64_t cache_bytes_max = (int64_t)512 << 20;

struct gb_cpu_object {
    gb_mem *mem;
    void *handle;
    int fd; /* of the memory file that handle was loaded from */
    bool cached;
    char *log;
    const gb_cpu_image *image;
};

typedef struct {
    const gb_cpu_compile_config *config;
    const gb_module_spec *spec;
    char folder[GB_IMAGE_PATH_MAX];
    char work[GB_IMAGE_PATH_MAX]; /* "" until it is made */
    gbi_tool tool;
    const char *target; /* of an image for other machines: "x86-64-v3"; NULL: this processor */
    gb_image_key key;
    bool keyed; /* the key covers everything */
    bool loops; /* the text has kernels with barriers as loops too */
    gb_buf files, image, log, text;
    char *detail;
} job;

/* ---- loading ---- */

/* From a memory file: every object gets variables of its own (the loader takes two paths to one
 * file for one object), and what was checked is what is loaded. The descriptor stays open because
 * the loader also compares names, and this one is /proc/.../fd/N. */
static int load(const job *j, bool cached, gb_cpu_object **out)
{
    char path[64];
    gb_cpu_object *object = gb_mem_zalloc(j->config->mem, sizeof *object);
    if (!object) return GB_ENOMEM;
    object->mem = j->config->mem;
    object->cached = cached;
    object->fd = memfd_create("gpubridge-kernels", MFD_CLOEXEC);
    /* the sanitizers' symbolizer is another process, and opens it by this name */
    int self = j->config->sanitize ? (int)getpid() : 0;
    snprintf(path, sizeof path, self ? "/proc/%2$d/fd/%1$d" : "/proc/self/fd/%d", object->fd, self);
    int rc = 0;
    if (object->fd < 0 || gb_image_fd_write(object->fd, j->image.data, j->image.size) < 0)
        rc = gb_err_set(GB_ECOMPILE, "no memory file for the image: %s", strerror(errno));
    if (rc == 0) object->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (rc == 0 && !object->handle)
        rc = gb_err_set(GB_ECOMPILE, "the image does not load: %s", dlerror());
    if (rc == 0) object->image = dlsym(object->handle, "gb_cpu_image");
    if (rc == 0 && (!object->image || object->image->abi != GB_CPU_ABI))
        rc = gb_err_set(GB_ECOMPILE, "the image has no table of version %d", GB_CPU_ABI);
    if (rc == 0) {
        gb_buf text = j->log;
        object->log = gb_mem_strdup(object->mem, text.size ? (const char *)text.data : "");
        if (!object->log) rc = GB_ENOMEM;
    }
    if (rc < 0) {
        gb_cpu_object_close(object);
        return rc;
    }
    *out = object;
    return 0;
}

void gb_cpu_object_close(gb_cpu_object *object)
{
    if (!object) return;
    if (object->handle) dlclose(object->handle);
    if (object->fd >= 0) close(object->fd);
    gb_mem_strfree(object->mem, object->log);
    gb_mem_free(object->mem, object, sizeof *object);
}

const gb_cpu_image *gb_cpu_object_image(const gb_cpu_object *object)
{
    return object->image;
}

const char *gb_cpu_object_log(const gb_cpu_object *object)
{
    return object->log;
}

bool gb_cpu_object_cached(const gb_cpu_object *object)
{
    return object->cached;
}

/* ---- the key ---- */

/* GB_CPU_REWRITER stands for what makes C++ of a kernel's source and for the flags
 * (CMakeLists.txt); the headers that go with it are hashed here. */
static int make_key(job *j)
{
    gb_buf key;
    gb_buf_init(&key, j->config->mem);
    j->files.size = 0;
    int rc = gb_buf_printf(&key, "abi %d rewriter %s ", GB_CPU_ABI, GB_CPU_REWRITER);
    if (rc == 0)
        rc = j->target ? gb_buf_printf(&key, "made for %s\n", j->target)
                       : gb_buf_printf(&key, "sanitize %d\ncompiler %s %s\n", j->config->sanitize,
                                       j->tool.path, j->tool.version);
    for (const gb_embedded *header = gb_embedded_headers; header->name && rc == 0; header++) {
        rc = gb_buf_printf(&key, "header %s %zu\n", header->name, header->size);
        if (rc == 0) rc = gb_buf_put(&key, header->bytes, header->size);
    }
    if (rc == 0 && !j->target) rc = gbi_machine(&key);
    if (rc == 0) rc = gbi_key_source(j->spec, &key, &j->files, &j->keyed, j->target != NULL);
    if (rc == 0) j->key = gb_image_key_of(key.data, key.size);
    gb_buf_fini(&key);
    return rc;
}

/* ---- the work folder ---- */

static int write_work(const job *j, const char *name, const void *bytes, size_t size)
{
    char path[GB_IMAGE_PATH_MAX + 128];
    snprintf(path, sizeof path, "%s/%s", j->work, name);
    return gb_image_file_write(path, bytes, size);
}

static int make_folder(const job *j, const char *name)
{
    char path[GB_IMAGE_PATH_MAX + 128];
    snprintf(path, sizeof path, "%s/%s", j->work, name);
    if (mkdir(path, 0700) == 0) return 0;
    return gb_err_set(GB_EDENIED, "%s: %s", path, strerror(errno));
}

/* Standard headers under std/ (the kernels of gb.lib in std/gb/), ours for the compilation under
 * cpu/, the source. */
static int make_work(job *j)
{
    char name[160];
    snprintf(j->work, sizeof j->work, "%.3900s/work-XXXXXX", j->folder);
    if (!mkdtemp(j->work)) {
        int rc = gb_err_set(GB_EDENIED, "%s: %s", j->work, strerror(errno));
        j->work[0] = 0;
        return rc;
    }
    int rc = make_folder(j, "std");
    if (rc == 0) rc = make_folder(j, "std/gb");
    if (rc == 0) rc = make_folder(j, "cpu");
    for (const gb_embedded *header = gb_embedded_headers; header->name && rc == 0; header++) {
        bool all = strncmp(header->name, "all.", 4) == 0;
        if (!all && strncmp(header->name, "cpu.", 4) != 0) continue;
        snprintf(name, sizeof name, "%s/%s", all ? "std" : "cpu",
                 all ? header->name + 4 : header->name);
        rc = write_work(j, name, header->bytes, header->size);
    }
    /* the contract includes <stdint.h>; its types are spelled otherwise there */
    if (rc == 0) rc = write_work(j, "cpu/stdint.h", "", 0);
    return rc;
}

static void remove_below(const char *path, int depth)
{
    char inner[GB_IMAGE_PATH_MAX + 320];
    DIR *dir = opendir(path);
    if (!dir) return;
    for (struct dirent *row = readdir(dir); row; row = readdir(dir)) {
        if (strcmp(row->d_name, ".") == 0 || strcmp(row->d_name, "..") == 0) continue;
        snprintf(inner, sizeof inner, "%.4090s/%.255s", path, row->d_name);
        if (unlink(inner) < 0 && depth < 2) remove_below(inner, depth + 1);
    }
    closedir(dir);
    rmdir(path);
}

/* ---- compiler runs ---- */

typedef struct {
    const char *at[ARGUMENTS_MAX];
    char work[4][GB_IMAGE_PATH_MAX + 64];
    int count, works;
} arguments;

static void add(arguments *a, const char *text)
{
    if (a->count < ARGUMENTS_MAX - 1) a->at[a->count++] = text;
    a->at[a->count] = NULL;
}

static void add_all(arguments *a, const char *const *texts)
{
    for (; *texts; texts++) add(a, *texts);
}

static void add_path(arguments *a, const job *j, const char *name)
{
    char *path = a->work[a->works++];
    snprintf(path, sizeof a->work[0], "%s/%s", j->work, name);
    add(a, path);
}

/* Reports a failed run: the messages are both the thread's text and the whole one. */
static int failed(job *j, gb_buf *output, const char *hint)
{
    gb_buf shown;
    gb_buf_init(&shown, j->config->mem);
    int rc = gbi_messages(gb_buf_text(output), j->spec, j->work, &shown);
    if (rc == 0 && *hint) rc = gb_buf_printf(&shown, "%s", hint);
    free(j->detail);
    j->detail = strdup(gb_buf_text(&shown));
    if (rc == 0) rc = gb_err_set(GB_ECOMPILE, "%s", gb_buf_text(&shown));
    gb_buf_fini(&shown);
    return rc;
}

/* A header that nobody has: what to do about it. */
static void missing_hint(const job *j, const char *output, gb_buf *hint)
{
    const char *at = strstr(output, "file not found");
    if (!at) at = strstr(output, "No such file or directory");
    if (!at) return;
    if (strstr(output, "cuda_fp16") || strstr(output, "cuda_bf16"))
        gb_buf_printf(hint, "note: half precision needs the CUDA toolkit's headers, which the cpu "
                            "backend cannot use\n");
    else if (strstr(output, "cooperative_groups"))
        gb_buf_printf(hint, "note: cooperative groups are not supported by the cpu backend\n");
    else if (strstr(output, "mma.h"))
        gb_buf_printf(hint, "note: tensor core operations (wmma) are not supported by the cpu "
                            "backend\n");
    gb_buf_printf(hint, "note: kernels include from the named folders only:");
    for (int i = 0; j->spec->includes && j->spec->includes[i]; i++)
        gb_buf_printf(hint, " %s", j->spec->includes[i]);
    gb_buf_printf(hint,
                  "%s; of the standard headers there are stdint, stddef, math, float, limits, "
                  "assert, stdio, stdlib, string and their c... forms\n",
                  j->spec->includes && *j->spec->includes ? "" : " (none are named)");
}

static int preprocess(job *j, gb_buf *out)
{
    static const char *const first[] = {"-E", "-dD", "-x", "c++", "-nostdinc", "-nostdinc++", NULL};
    gb_buf unit, output, hint;
    char path[GB_IMAGE_PATH_MAX + 64];
    arguments a = {.count = 0};
    gb_buf_init(&unit, j->config->mem);
    gb_buf_init(&output, j->config->mem);
    gb_buf_init(&hint, j->config->mem);
    int rc = gb_buf_printf(&unit, "#line 1 \"");
    if (rc == 0) rc = gbi_put_escaped(&unit, j->spec->name ? j->spec->name : "kernel.cu");
    if (rc == 0) rc = gb_buf_printf(&unit, "\"\n");
    if (rc == 0) rc = gb_buf_put(&unit, j->spec->source, j->spec->source_bytes);
    if (rc == 0) rc = gb_buf_put(&unit, "\n", 1);
    if (rc == 0) rc = write_work(j, "source.cu", unit.data, unit.size);
    add(&a, j->tool.path);
    add_all(&a, first);
    add(&a, gbi_options_standard(j->spec));
    for (int i = 0; j->spec->options && j->spec->options[i]; i++)
        if (strncmp(j->spec->options[i], "-D", 2) == 0 ||
            strncmp(j->spec->options[i], "-U", 2) == 0)
            add(&a, j->spec->options[i]);
    for (int i = 0; j->spec->includes && j->spec->includes[i]; i++) {
        add(&a, "-I");
        add(&a, j->spec->includes[i]);
    }
    add(&a, "-isystem");
    add_path(&a, j, "std");
    add(&a, "-include");
    add_path(&a, j, "cpu/cpu.macros.h");
    add_path(&a, j, "source.cu");
    add(&a, "-o");
    add_path(&a, j, "source.ii");
    if (rc == 0) rc = gbi_tool_run(a.at, &output, COMPILE_MS);
    if (rc > 0) {
        missing_hint(j, gb_buf_text(&output), &hint);
        rc = failed(j, &output, gb_buf_text(&hint));
    }
    snprintf(path, sizeof path, "%s/source.ii", j->work);
    if (rc == 0) rc = gb_image_file_read(path, out);
    gb_buf_fini(&hint);
    gb_buf_fini(&output);
    gb_buf_fini(&unit);
    return rc;
}

static const char *const always[] = {"-x",
                                     "c++",
                                     "-nostdinc",
                                     "-nostdinc++",
                                     "-fPIC",
                                     "-shared",
                                     "-fvisibility=hidden",
                                     "-fno-exceptions",
                                     "-fno-rtti",
                                     "-fno-threadsafe-statics",
                                     "-fno-math-errno",
                                     "-fno-trapping-math",
                                     "-ffp-contract=fast",
                                     "-fno-delete-null-pointer-checks",
                                     "-fno-finite-loops",
                                     "-fno-strict-aliasing",
                                     "-fno-stack-protector",
                                     "-fdiagnostics-color=never",
                                     "-Wno-unknown-pragmas",
                                     "-Wno-attributes",
                                     NULL};
static const char *const clang_only[] = {"-fdeclspec",
                                         "-Wno-pass-failed",
                                         "-Wno-unknown-attributes",
                                         "-Wno-tautological-constant-compare",
                                         "-ferror-limit=20",
                                         "-Wno-return-type-c-linkage",
                                         NULL};
static const char *const gcc_only[] = {"-fmax-errors=20", "-fno-gnu-unique", NULL};
static const char *const fast[] = {"-O3", "-fno-semantic-interposition", NULL};
static const char *const sanitized[] = {
    "-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize=vptr",
    NULL};
static const char *const libraries[] = {"-nodefaultlibs", "-lm", "-lc", NULL};

static int compile(job *j)
{
    gb_buf output;
    char path[GB_IMAGE_PATH_MAX + 64], processor[32];
    arguments a = {.count = 0};
    gb_buf_init(&output, j->config->mem);
    snprintf(processor, sizeof processor, "-march=%s", j->target ? j->target : "native");
    add(&a, j->tool.path);
    add_all(&a, always);
    add_all(&a, j->tool.clang ? clang_only : gcc_only);
    add_all(&a, j->config->sanitize ? sanitized : fast);
    add(&a, processor);
    if (j->target) add(&a, "-s");
    add(&a, gbi_options_standard(j->spec));
    if (gbi_options_fast_math(j->spec)) add(&a, "-ffast-math"), add(&a, "-fno-finite-math-only");
    add(&a, "-I");
    add_path(&a, j, "cpu");
    add_path(&a, j, "unit.cpp");
    add(&a, "-o");
    add_path(&a, j, "image.so");
    add_all(&a, libraries); /* the runtime of sanitizers is the process's, or there is none */
    add(&a, !j->config->sanitize ? "-Wl,-z,defs" : "-Wl,-z,undefs");
    if (j->config->sanitize && j->tool.clang) add(&a, "-fno-sanitize=function");
    int rc = write_work(j, "unit.cpp", j->text.data, j->text.size);
    if (rc == 0) rc = gbi_tool_run(a.at, &output, COMPILE_MS);
    if (rc > 0) rc = failed(j, &output, "");
    if (rc == 0 && output.size) {
        const char *text = gb_buf_text(&output);
        rc = gbi_messages(text, j->spec, j->work, &j->log);
    }
    snprintf(path, sizeof path, "%s/image.so", j->work);
    if (rc == 0) rc = gb_image_file_read(path, &j->image);
    gb_buf_fini(&output);
    return rc;
}

/* Every file the preprocessor read must be one that the key has covered. */
static void check_files(job *j, const gb_source *source)
{
    for (int i = 0; i < gb_source_file_count(source); i++) {
        const char *file = gb_source_file_at(source, i);
        char real[4096];
        bool ours = *file == '<' || strncmp(file, j->work, strlen(j->work)) == 0 ||
                    strcmp(file, j->spec->name ? j->spec->name : "kernel.cu") == 0;
        if (ours) continue;
        bool known = false;
        for (size_t at = 0; realpath(file, real) && at < j->files.size && !known;
             at += strlen((char *)j->files.data + at) + 1)
            known = strcmp((char *)j->files.data + at, real) == 0;
        if (!known) j->keyed = false;
    }
}

static int make_text(job *j, const gb_buf *expanded, bool loops)
{
    gb_source *source;
    int rc = gb_source_open(&source, j->config->mem, (const char *)expanded->data, expanded->size);
    if (rc < 0) return rc;
    check_files(j, source);
    if (loops) rc = gb_source_split(source);
    j->loops = false;
    for (int i = 0; i < gb_source_kernel_count(source); i++)
        j->loops |= gb_source_kernel_at(source, i)->loops;
    j->text.size = 0;
    if (rc == 0) rc = gb_buf_printf(&j->text, "#include \"cpu.cuda.h\"\n");
    if (rc == 0) rc = gb_source_rewrite(source, &j->text);
    if (rc == 0) rc = gbi_wrap(source, j->spec, &j->text);
    gb_source_close(source);
    return rc;
}

/* Compiles into j->image and j->log, and keeps the result. */
static int make(job *j)
{
    gb_buf expanded;
    gb_buf_init(&expanded, j->config->mem);
    if (!j->tool.clang)
        gb_buf_printf(&j->log,
                      "note: compiled with %s: correct, but loops over threads do not "
                      "vectorise as with clang\n",
                      j->tool.version);
    int rc = make_work(j);
    if (rc == 0) rc = preprocess(j, &expanded);
    if (rc == 0) rc = make_text(j, &expanded, true);
    if (rc == 0) rc = compile(j);
    if (rc == GB_ECOMPILE && j->loops) {
        /* the source's own mistake, which is then told once, or loops that C++ does not allow */
        rc = make_text(j, &expanded, false);
        if (rc == 0) rc = compile(j);
        if (rc == 0)
            rc = gb_buf_printf(&j->log, "note: kernels with barriers run as fibers: as loops over "
                                        "threads this source does not compile\n");
    }
    gb_buf_fini(&expanded);
    if (j->work[0]) remove_below(j->work, 0);
    j->work[0] = 0;
    return rc;
}

static int store(job *j)
{
    return gb_image_cache_store(j->folder, j->key, "cpu", j->image.data, j->image.size, j->log.data,
                                j->log.size);
}

/* ---- images for other machines ---- */

/* There is no compiler; what was made for the best level that this processor has, or an older one.
 * The detail says why there is none, and stays first. */
static int find_made(job *j, gb_cpu_object **out)
{
    char why[1024], folder[GB_IMAGE_PATH_MAX];
    int own = gbi_cpu_level();
    snprintf(why, sizeof why, "%s", gb_err_detail());
    int rc = j->config->sanitize ? 0 : gb_image_made_folder(false, folder);
    if (rc <= 0) return rc < 0 ? rc : gb_err_set(GB_ECOMPILE, "%s", why);
    memcpy(j->folder, folder, sizeof folder);
    for (int level = own; level >= LEVEL_OLDEST; level--) {
        j->target = gbi_cpu_level_name(level);
        rc = make_key(j);
        if (rc < 0) return rc;
        rc = j->keyed ? gb_image_cache_load(j->folder, j->key, "cpu", &j->image, &j->log)
                      : GB_ENOENT;
        if (rc == GB_ENOENT) continue;
        gb_buf_text(&j->log);
        if (rc == 0) rc = load(j, true, out);
        if (rc == 0 || rc == GB_ENOMEM) return rc;
        return gb_err_set(GB_ECOMPILE, "an image of GB_IMAGES is refused: %s", gb_err_detail());
    }
    return gb_err_set(GB_ECOMPILE, "%s; no image of this source for %s in GB_IMAGES (%.200s)", why,
                      gbi_cpu_level_name(own), folder);
}

static int make_made(job *j, const char *folder)
{
    int rc = gb_image_cache_folder(j->config->cache_dir, j->folder);
    if (rc == 0) rc = gbi_tool_find(&j->tool, j->config->mem, j->config->compiler, j->folder);
    memcpy(j->folder, folder, strlen(folder) + 1);
    for (int level = LEVEL_OLDEST; level < GBI_CPU_LEVELS && rc == 0; level++) {
        j->target = gbi_cpu_level_name(level);
        rc = make_key(j);
        if (rc < 0 || !j->keyed) return rc;
        if (gb_image_cache_load(j->folder, j->key, "cpu", &j->image, &j->log) == 0) continue;
        j->image.size = j->log.size = 0;
        rc = make(j);
        if (rc == 0 && j->keyed) rc = store(j);
    }
    return rc;
}

/* ---- the way ---- */

static int run(job *j, gb_cpu_object **out)
{
    int rc = gbi_options_check(j->spec);
    if (rc == 0) rc = gb_image_cache_folder(j->config->cache_dir, j->folder);
    if (rc < 0) return rc;
    if (gbi_tool_find(&j->tool, j->config->mem, j->config->compiler, j->folder) < 0)
        return find_made(j, out);
    rc = make_key(j);
    if (rc < 0) return rc;
    int found = GB_ENOENT;
    if (j->keyed) found = gb_image_cache_load(j->folder, j->key, "cpu", &j->image, &j->log);
    if (found == 0) {
        gb_buf_text(&j->log);
        if (load(j, true, out) == 0) return 0;
        found = GB_ECONFLICT;
    }
    if (found != GB_ENOENT) {
        j->log.size = 0;
        gb_buf_printf(&j->log, "warning: compiled again: %s\n", gb_err_detail());
    }
    j->image.size = 0;
    rc = make(j);
    if (rc < 0) return rc;
    if (j->keyed) {
        /* what does not reach the cache is compiled again: not this module's failure */
        if (store(j) < 0) gb_buf_printf(&j->log, "warning: not cached: %s\n", gb_err_detail());
        gb_image_cache_trim(j->folder, cache_bytes_max);
    }
    gb_buf_text(&j->log);
    return load(j, false, out);
}

static job *job_new(const gb_cpu_compile_config *config, const gb_module_spec *spec)
{
    job *j = gb_mem_zalloc(config->mem, sizeof *j);
    if (!j) return NULL;
    j->config = config;
    j->spec = spec;
    gb_buf *buffers[] = {&j->files, &j->image, &j->log, &j->text};
    for (int i = 0; i < 4; i++) gb_buf_init(buffers[i], config->mem);
    return j;
}

static void job_free(job *j)
{
    gb_buf *buffers[] = {&j->files, &j->image, &j->log, &j->text};
    free(j->detail);
    for (int i = 0; i < 4; i++) gb_buf_fini(buffers[i]);
    gb_mem_free(j->config->mem, j, sizeof *j);
}

int gb_cpu_compile(const gb_cpu_compile_config *config, const gb_module_spec *spec,
                   gb_cpu_object **out, char **detail)
{
    *out = NULL;
    if (detail) *detail = NULL;
    job *j = job_new(config, spec);
    if (!j) return GB_ENOMEM;
    int rc = run(j, out);
    if (rc < 0 && detail) {
        *detail = j->detail ? j->detail : strdup(gb_err_detail());
        j->detail = NULL;
    }
    job_free(j);
    return rc;
}

int gb_cpu_images_make(const gb_cpu_compile_config *config, const gb_module_spec *spec)
{
    char folder[GB_IMAGE_PATH_MAX];
    int rc = gb_image_made_folder(true, folder);
    if (rc <= 0) return rc;
    job *j = job_new(config, spec);
    if (!j) return GB_ENOMEM;
    rc = make_made(j, folder);
    job_free(j);
    return rc;
}
