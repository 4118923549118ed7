#include "gpu/cuda_compile.h"

#include "base/embed.h"
#include "base/err.h"
#include "gpu/cpu_options.h"
#include "gpu/cpu_wrap.h"
#include "gpu/image_cache.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Changes when the same source makes another image or note, headers aside (they are hashed). */
enum { IMAGE_REVISION = 4, ARCH_OLDEST = 50 };
enum { HEADERS_MAX = 96, OPTIONS_MAX = 64, ARCHS_MAX = 64, ROUNDS_MAX = 8, INCLUDES_MAX = 16 };
enum { PATH_BYTES = 4096 };
static const int64_t cache_bytes_max = (int64_t)512 << 20;

typedef struct work {
    const gb_nvrtc_api *nvrtc;
    const gb_module_spec *spec;
    gbi_cuda_image *out;
    gb_nvrtc_program program;
    const char *options[OPTIONS_MAX];
    int option_count;
    char arch[64], includes[INCLUDES_MAX][PATH_BYTES], folder[GB_IMAGE_PATH_MAX];
    bool cubin, keyed;
    size_t own; /* of the log, at its start: about this run, and not to be stored */
    gb_image_key key;
} work;

void gbi_cuda_image_init(gbi_cuda_image *image, gb_mem *mem)
{
    gb_buf_init(&image->bytes, mem);
    gb_buf_init(&image->log, mem);
    gbi_cuda_names_init(&image->names, mem);
    image->cached = false;
    image->verbose = false;
}

void gbi_cuda_image_fini(gbi_cuda_image *image)
{
    gb_buf_fini(&image->bytes);
    gb_buf_fini(&image->log);
    gbi_cuda_names_fini(&image->names);
}

/* ---- architecture and options ---- */

int gbi_nvrtc_archs(const gb_nvrtc_api *nvrtc, int *out, int room)
{
    int archs[ARCHS_MAX], count = 0;
    if (nvrtc->nvrtcGetNumSupportedArchs(&count) != GB_NVRTC_SUCCESS || count > ARCHS_MAX) return 0;
    if (nvrtc->nvrtcGetSupportedArchs(archs) != GB_NVRTC_SUCCESS) return 0;
    if (count > room) count = room;
    if (count > 0) memcpy(out, archs, (size_t)count * sizeof *out);
    return count;
}

/* 90 for "sm_90" and "compute_90"; 0: neither. */
static int arch_number(const char *arch)
{
    if (strncmp(arch, "sm_", 3) == 0) return (int)strtol(arch + 3, NULL, 10);
    return strncmp(arch, "compute_", 8) == 0 ? (int)strtol(arch + 8, NULL, 10) : 0;
}

static int choose_arch(work *w, const char *arch)
{
    int archs[ARCHS_MAX], count = gbi_nvrtc_archs(w->nvrtc, archs, ARCHS_MAX), best = 0;
    int own = arch_number(arch);
    for (int i = 0; i < count; i++)
        if (archs[i] <= own && archs[i] > best) best = archs[i];
    if (!best)
        return gb_err_set(
            GB_ECOMPILE, "NVRTC %d.%d does not compile for %s: its oldest architecture is sm_%d",
            w->nvrtc->version / 1000, w->nvrtc->version % 1000 / 10, arch, count ? archs[0] : 0);
    w->cubin = best == own && strncmp(arch, "sm_", 3) == 0;
    snprintf(w->arch, sizeof w->arch, "--gpu-architecture=%s_%d", w->cubin ? "sm" : "compute",
             best);
    return 0;
}

static void set_options(work *w)
{
    const gb_module_spec *spec = w->spec;
    w->options[w->option_count++] = w->arch;
    w->options[w->option_count++] = gbi_options_standard(spec);
    /* functions and lambdas without a mark are the device's, as on the cpu backend */
    w->options[w->option_count++] = "--device-as-default-execution-space";
    if (w->out->verbose) w->options[w->option_count++] = "--ptxas-options=-v";
    for (int i = 0; spec->options && spec->options[i] && w->option_count < OPTIONS_MAX - 20; i++)
        if (!strstr(spec->options[i], "-std=")) w->options[w->option_count++] = spec->options[i];
    for (int i = 0; spec->includes && spec->includes[i] && i < INCLUDES_MAX; i++) {
        snprintf(w->includes[i], PATH_BYTES, "--include-path=%s", spec->includes[i]);
        w->options[w->option_count++] = w->includes[i];
    }
}

/* ---- messages ---- */

/* "name(12): error: ..." becomes "name:12: error: ...", as other compilers write it. */
static int put_line(gb_buf *out, const char *line, size_t size)
{
    const char *open = memchr(line, '(', size), *end = line + size;
    const char *close = open;
    if (open && open > line && *line != ' ')
        for (close = open + 1; close < end && isdigit((unsigned char)*close);) close++;
    if (open && close > open + 1 && end - close > 2 && close[0] == ')' && close[1] == ':') {
        int rc = gb_buf_put(out, line, (size_t)(open - line));
        if (rc == 0)
            rc = gb_buf_printf(out, ":%.*s%.*s", (int)(close - open - 1), open + 1,
                               (int)(end - close - 1), close + 1);
        return rc;
    }
    return gb_buf_put(out, line, size);
}

/* The compiler's text without the paragraphs about what we put behind the source. */
static int put_log(gb_buf *out, const char *log)
{
    int rc = 0;
    bool ours = false, fresh = true;
    while (*log && rc == 0) {
        size_t size = strcspn(log, "\n");
        size_t whole = size + (log[size] == '\n');
        if (fresh)
            ours = strncmp(log, "<gpubridge", 10) == 0 || strncmp(log, "__nv_name_map", 13) == 0;
        fresh = size == 0;
        if (!ours && strncmp(log, "Remark: The warnings", 20) != 0) {
            rc = put_line(out, log, size);
            if (rc == 0) rc = gb_buf_put(out, "\n", 1);
        }
        log += whole;
    }
    while (out->size && out->data[out->size - 1] == '\n') out->size--;
    if (rc == 0 && out->size) rc = gb_buf_put(out, "\n", 1);
    return rc;
}

/* ---- the compiler ---- */

static int create(work *w, const char *source)
{
    const char *names[HEADERS_MAX], *texts[HEADERS_MAX];
    int count = 0;
    for (const gb_embedded *file = gb_embedded_headers; file->name && count < HEADERS_MAX; file++) {
        if (strncmp(file->name, "all.", 4) != 0) continue;
        names[count] = file->name + 4;
        texts[count++] = file->bytes;
    }
    gb_nvrtc_rc rc = w->nvrtc->nvrtcCreateProgram(
        &w->program, source, w->spec->name ? w->spec->name : "kernel.cu", count, texts, names);
    if (rc == GB_NVRTC_SUCCESS) return 0;
    return gb_err_set(GB_ECOMPILE, "NVRTC: %s", w->nvrtc->nvrtcGetErrorString(rc));
}

static void destroy(work *w)
{
    if (w->program) w->nvrtc->nvrtcDestroyProgram(&w->program);
    w->program = NULL;
}

static int take(work *w, gb_buf *out, gb_nvrtc_rc (*size_of)(gb_nvrtc_program, size_t *),
                gb_nvrtc_rc (*get)(gb_nvrtc_program, char *))
{
    size_t size = 0;
    if (size_of(w->program, &size) != GB_NVRTC_SUCCESS || size == 0) return 0;
    if (gb_buf_reserve(out, size) < 0) return GB_ENOMEM;
    if (get(w->program, (char *)out->data + out->size) == GB_NVRTC_SUCCESS) out->size += size;
    return 0;
}

/* 0, 1 when the source does not compile (raw holds the log), or negative. */
static int run(work *w, const char *source, bool named, gb_buf *raw)
{
    const gbi_cuda_names *names = &w->out->names;
    raw->size = 0;
    int rc = create(w, source);
    for (int i = 0; i < names->count && rc == 0 && named; i++) {
        const gbi_cuda_name *name = &names->at[i];
        if (name->dropped || !*name->expression) continue;
        if (w->nvrtc->nvrtcAddNameExpression(w->program, name->expression) != GB_NVRTC_SUCCESS)
            rc = gb_err_set(GB_ECOMPILE, "NVRTC refuses the name '%s'", name->shown);
    }
    if (rc < 0) return rc;
    gb_nvrtc_rc failed = w->nvrtc->nvrtcCompileProgram(w->program, w->option_count, w->options);
    rc = take(w, raw, w->nvrtc->nvrtcGetProgramLogSize, w->nvrtc->nvrtcGetProgramLog);
    if (rc < 0) return rc;
    if (failed == GB_NVRTC_COMPILATION) return 1;
    if (failed == GB_NVRTC_SUCCESS) return 0;
    return gb_err_set(GB_ECOMPILE, "NVRTC: %s\n%s", w->nvrtc->nvrtcGetErrorString(failed),
                      gb_buf_text(raw));
}

static int take_lowered(work *w)
{
    gbi_cuda_names *names = &w->out->names;
    for (int i = 0; i < names->count; i++) {
        gbi_cuda_name *name = &names->at[i];
        const char *lowered = NULL;
        if (name->dropped || !*name->expression) continue;
        gb_nvrtc_rc failed = w->nvrtc->nvrtcGetLoweredName(w->program, name->expression, &lowered);
        if (failed != GB_NVRTC_SUCCESS || !lowered)
            return gb_err_set(GB_ECOMPILE, "NVRTC has no name for '%s'", name->shown);
        int rc = gbi_cuda_name_set(names, &name->lowered, lowered);
        if (rc < 0) return rc;
    }
    return 0;
}

/* 1: a kernel has another number of parameters than names were found, or was not found in the text:
 * that is to be made again. */
static int take_image(work *w)
{
    gb_buf rows;
    w->out->bytes.size = 0;
    int rc = take_lowered(w);
    if (rc == 0)
        rc = w->cubin
                 ? take(w, &w->out->bytes, w->nvrtc->nvrtcGetCUBINSize, w->nvrtc->nvrtcGetCUBIN)
                 : take(w, &w->out->bytes, w->nvrtc->nvrtcGetPTXSize, w->nvrtc->nvrtcGetPTX);
    if (rc == 0 && w->out->bytes.size == 0)
        rc = gb_err_set(GB_ECOMPILE, "NVRTC made no image for %s", w->arch);
    if (rc < 0) return rc;
    gb_buf_init(&rows, w->out->bytes.mem);
    rc = gbi_cuda_rows(w->out->bytes.data, w->out->bytes.size, &rows);
    if (rc > 0) rc = gbi_cuda_names_settle(&w->out->names, (const gbi_cuda_row *)rows.data, rc);
    gb_buf_fini(&rows);
    int missed = 0;
    if (rc >= 0)
        missed = gbi_cuda_names_missed(&w->out->names, w->out->bytes.data, w->out->bytes.size);
    if (missed < 0) return missed;
    return rc > 0 || missed > 0 ? 1 : rc;
}

/* Headers of the toolkit, which we have no own ones for: what to do where one is missing. */
static int put_hint(gb_buf *out)
{
    static const char *const ways[] = {"open source file", "file not found",
                                       "No such file or directory"};
    static const char *const theirs[] = {"cuda_fp16", "cuda_bf16",     "cuda_fp8",
                                         "mma.h",     "cooperative_g", "curand",
                                         "cub/",      "thrust/",       "cuda/"};
    char line[512] = "";
    for (int i = 0; i < 3 && !*line; i++) {
        const char *text = gb_buf_text(out), *at = strstr(text, ways[i]), *start = at;
        while (start && start > text && start[-1] != '\n') start--;
        if (at) snprintf(line, sizeof line, "%.*s", (int)strcspn(start, "\n"), start);
    }
    for (size_t i = 0; *line && i < sizeof theirs / sizeof *theirs; i++)
        if (strstr(line, theirs[i]))
            return gb_buf_printf(out, "note: this header comes with the CUDA toolkit: install "
                                      "that, and name its include folder among the kernel's "
                                      "include folders (such as /usr/local/cuda/include)\n");
    return 0;
}

/* The failure's text: that of the source alone, for what stands behind it may have confused the
 * compiler. */
static int report(work *w, gb_buf *raw)
{
    gb_buf plain;
    gb_buf_init(&plain, raw->mem);
    destroy(w);
    int rc = run(w, w->spec->source, false, &plain);
    if (rc == 0) rc = 1; /* it compiles alone: then the first text is all there is */
    if (rc == 1) rc = put_log(&w->out->log, gb_buf_text(plain.size > 1 ? &plain : raw));
    if (rc == 0) rc = put_hint(&w->out->log);
    if (rc == 0 && w->out->log.size == 0)
        rc = gb_buf_printf(&w->out->log, "%s: error: NVRTC: %s, without a message\n",
                           w->spec->name ? w->spec->name : "kernel",
                           w->nvrtc->nvrtcGetErrorString(GB_NVRTC_COMPILATION));
    gb_buf_fini(&plain);
    return rc < 0 ? rc : gb_err_set(GB_ECOMPILE, "%s", gb_buf_text(&w->out->log));
}

static int check_instances(const work *w)
{
    for (int i = 0; i < w->out->names.count; i++) {
        const gbi_cuda_name *name = &w->out->names.at[i];
        if (name->instance && name->dropped)
            return gb_err_set(GB_ECOMPILE,
                              "%s: error: the instance '%s' names no template kernel of this "
                              "source (expected: name<arguments>)",
                              w->spec->name ? w->spec->name : "kernel", name->shown);
    }
    return 0;
}

/* Compiles until every candidate is described or dropped. */
static int make(work *w)
{
    gb_buf text, raw;
    gb_buf_init(&text, w->out->bytes.mem);
    gb_buf_init(&raw, w->out->bytes.mem);
    int rc = gbi_cuda_names_read(&w->out->names, w->spec);
    for (int round = 0; rc == 0; round++) {
        text.size = 0;
        rc = gb_buf_put(&text, w->spec->source, w->spec->source_bytes);
        if (rc == 0) rc = gbi_cuda_names_text(&w->out->names, &text);
        if (rc < 0) break;
        destroy(w);
        int answer = run(w, gb_buf_text(&text), true, &raw);
        if (answer == 0)
            answer = take_image(w);
        else if (answer == 1 && gbi_cuda_names_drop(&w->out->names, gb_buf_text(&raw)) == 0)
            answer = report(w, &raw);
        if (answer == 0) break;
        if (answer < 0)
            rc = answer;
        else if (round == ROUNDS_MAX)
            rc = report(w, &raw);
    }
    if (rc == 0) rc = check_instances(w);
    if (rc == 0) rc = put_log(&w->out->log, gb_buf_text(&raw));
    destroy(w);
    gb_buf_fini(&raw);
    gb_buf_fini(&text);
    return rc;
}

/* ---- the cache ---- */

/* made_for: the architecture of an image that may have been made on another machine; NULL: one of
 * this machine's compiler. */
static int make_key(work *w, const char *made_for)
{
    gb_buf key, files;
    gb_buf_init(&key, w->out->bytes.mem);
    gb_buf_init(&files, w->out->bytes.mem);
    /* the path too: a test's software compiler must never be taken for the real one */
    int rc = made_for
                 ? gb_buf_printf(&key, "cuda revision %d made for %s\n", IMAGE_REVISION, made_for)
                 : gb_buf_printf(&key, "cuda revision %d nvrtc %d %s %s\n", IMAGE_REVISION,
                                 w->nvrtc->version, w->nvrtc->path, w->arch);
    for (const gb_embedded *file = gb_embedded_headers; file->name && rc == 0; file++) {
        if (strncmp(file->name, "cpu.", 4) == 0) continue;
        rc = gb_buf_printf(&key, "header %s %zu\n", file->name, file->size);
        if (rc == 0) rc = gb_buf_put(&key, file->bytes, file->size);
    }
    if (rc == 0) rc = gbi_key_source(w->spec, &key, &files, &w->keyed, made_for != NULL);
    if (rc == 0) w->key = gb_image_key_of(key.data, key.size);
    gb_buf_fini(&files);
    gb_buf_fini(&key);
    return rc;
}

/* The note: how long the log is, the log, the names. */
static void store(work *w)
{
    gb_buf note;
    gb_buf_init(&note, w->out->bytes.mem);
    size_t log = w->out->log.size - w->own;
    int rc = gb_buf_printf(&note, "%zu\n", log);
    if (rc == 0 && log) rc = gb_buf_put(&note, w->out->log.data + w->own, log);
    if (rc == 0) rc = gbi_cuda_names_store(&w->out->names, &note);
    if (rc == 0)
        rc = gb_image_cache_store(w->folder, w->key, "cuda", w->out->bytes.data, w->out->bytes.size,
                                  note.data, note.size);
    /* what does not reach the cache is compiled again: not this module's failure */
    if (rc < 0) gb_buf_printf(&w->out->log, "warning: not cached: %s\n", gb_err_detail());
    gb_image_cache_trim(w->folder, cache_bytes_max);
    gb_buf_fini(&note);
}

/* GB_ENOENT: it is to be compiled. made: elsewhere; a damaged one is an error then. */
static int load(work *w, bool made)
{
    gb_buf note;
    char *end = NULL;
    gb_buf_init(&note, w->out->bytes.mem);
    int rc = gb_image_cache_load(w->folder, w->key, "cuda", &w->out->bytes, &note);
    if (rc == 0) {
        const char *text = gb_buf_text(&note);
        size_t log = strtoull(text, &end, 10), head = (size_t)(end - text) + 1;
        if (*end != '\n' || head > note.size || log > note.size - head)
            rc = gb_err_set(GB_ECONFLICT, "the note of a cached image is damaged");
        if (rc == 0 && log) rc = gb_buf_put(&w->out->log, note.data + head, log);
        if (rc == 0)
            rc =
                gbi_cuda_names_load(&w->out->names, note.data + head + log, note.size - head - log);
    }
    gb_buf_fini(&note);
    if (rc == 0) {
        w->out->cached = true;
        return 0;
    }
    w->out->bytes.size = w->out->log.size = 0;
    gbi_cuda_names_fini(&w->out->names);
    if (rc != GB_ENOENT && rc != GB_ECONFLICT) return rc;
    if (rc == GB_ECONFLICT && made)
        return gb_err_set(GB_ECOMPILE, "an image of GB_IMAGES is refused: %s", gb_err_detail());
    if (rc == GB_ECONFLICT)
        gb_buf_printf(&w->out->log, "warning: compiled again: %s\n", gb_err_detail());
    w->own = w->out->log.size;
    return GB_ENOENT;
}

/* ---- images made elsewhere ---- */

/* An image for the architecture itself, or PTX for the newest before it. */
static int find_made(work *w, const char *arch)
{
    int own = arch_number(arch), rc = GB_ENOENT;
    int found = own ? gb_image_made_folder(false, w->folder) : 0;
    if (found <= 0) return found < 0 ? found : GB_ENOENT;
    for (int n = own + 1; n >= ARCH_OLDEST && rc == GB_ENOENT; n--) {
        char made_for[32]; /* first the cubin, then PTX from its own number down */
        snprintf(made_for, sizeof made_for, n > own ? "sm_%d" : "compute_%d", n > own ? own : n);
        rc = make_key(w, made_for);
        if (rc == 0) rc = w->keyed ? load(w, true) : GB_ENOENT;
    }
    return rc;
}

static int put_made(work *w)
{
    int rc = gb_image_made_folder(true, w->folder);
    if (rc <= 0) return rc;
    rc = make_key(w, strchr(w->arch, '=') + 1);
    if (rc == 0 && w->keyed) store(w);
    return rc;
}

static int from_compiler(work *w, const char *cache_dir, const char *arch)
{
    int rc = choose_arch(w, arch);
    if (rc == 0) rc = gb_image_cache_folder(cache_dir, w->folder);
    if (rc == 0) rc = make_key(w, NULL);
    if (w->out->verbose) w->keyed = false;
    if (rc < 0) return rc;
    set_options(w);
    rc = w->keyed ? load(w, false) : GB_ENOENT;
    if (rc == GB_ENOENT) {
        rc = make(w);
        if (rc == 0 && w->keyed) store(w);
    }
    return rc == 0 ? put_made(w) : rc;
}

int gbi_cuda_compile(gbi_cuda_image *out, const gb_nvrtc_api *nvrtc, const char *cache_dir,
                     const gb_module_spec *spec, const char *arch)
{
    work *w = gb_mem_zalloc(out->bytes.mem, sizeof *w);
    if (!w) return GB_ENOMEM;
    w->nvrtc = nvrtc;
    w->spec = spec;
    w->out = out;
    int rc = gbi_options_check(spec);
    if (rc == 0) rc = out->verbose ? GB_ENOENT : find_made(w, arch);
    if (rc == GB_ENOENT)
        rc = nvrtc ? from_compiler(w, cache_dir, arch)
                   : gb_err_set(GB_ENOENT, "no image of this source for %s in GB_IMAGES", arch);
    gb_mem_free(out->bytes.mem, w, sizeof *w);
    return rc;
}

int gbi_cuda_images_make(gb_mem *mem, const char *cache_dir, const gb_module_spec *spec)
{
    static const char *const archs[] = {"sm_80", "sm_90", "compute_80"};
    char folder[GB_IMAGE_PATH_MAX];
    gb_nvrtc_api nvrtc;
    int rc = gb_image_made_folder(true, folder);
    if (rc > 0) rc = gbi_nvrtc_load(&nvrtc) < 0 ? GB_ENOENT : 1;
    if (rc <= 0) return rc;
    rc = 0;
    for (size_t i = 0; i < sizeof archs / sizeof *archs && rc == 0; i++) {
        gbi_cuda_image image;
        gbi_cuda_image_init(&image, mem);
        rc = gbi_cuda_compile(&image, &nvrtc, cache_dir, spec, archs[i]);
        gbi_cuda_image_fini(&image);
    }
    gbi_nvrtc_unload(&nvrtc);
    return rc;
}
