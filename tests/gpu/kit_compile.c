#include "kit_compile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

/* ---- compiling ---- */

void kit_compile_open(kit_compile *kit)
{
    memset(kit, 0, sizeof *kit);
    gb_mem_init(&kit->mem, "kit", NULL, 0);
    snprintf(kit->folder, sizeof kit->folder, "%s/compile-XXXXXX", GB_BINARY_DIR);
    assert_non_null(mkdtemp(kit->folder));
    kit->config = (gb_cpu_compile_config){.mem = &kit->mem, .cache_dir = kit->folder};
}

static void remove_tree(const char *path)
{
    char inner[1024];
    DIR *dir = opendir(path);
    for (struct dirent *row = dir ? readdir(dir) : NULL; row; row = readdir(dir)) {
        if (strcmp(row->d_name, ".") == 0 || strcmp(row->d_name, "..") == 0) continue;
        snprintf(inner, sizeof inner, "%.700s/%.255s", path, row->d_name);
        if (unlink(inner) < 0) remove_tree(inner);
    }
    if (dir) closedir(dir);
    rmdir(path);
}

void kit_compile_close(kit_compile *kit)
{
    remove_tree(kit->folder);
    free(kit->detail);
    gb_mem_fini(&kit->mem);
}

int kit_compile_text(kit_compile *kit, const char *source, const char *const *options,
                     const char *const *instances, gb_cpu_object **out)
{
    gb_module_spec spec = {.name = "test.cu",
                           .source = source,
                           .source_bytes = strlen(source),
                           .options = options,
                           .instances = instances};
    free(kit->detail);
    return gb_cpu_compile(&kit->config, &spec, out, &kit->detail);
}

gb_cpu_object *kit_compile_must(kit_compile *kit, const char *source)
{
    gb_cpu_object *object;
    int rc = kit_compile_text(kit, source, NULL, NULL, &object);
    if (rc < 0) print_error("%s\n", kit->detail);
    assert_int_equal(rc, 0);
    return object;
}

const gb_cpu_kernel *kit_kernel(const gb_cpu_object *object, const char *name)
{
    const gb_cpu_image *image = gb_cpu_object_image(object);
    for (int i = 0; i < image->kernel_count; i++)
        if (strcmp(image->kernels[i].name, name) == 0) return &image->kernels[i];
    for (int i = 0; i < image->kernel_count; i++) print_error("has %s\n", image->kernels[i].name);
    fail_msg("no kernel %s", name);
    return NULL;
}

const gb_cpu_global *kit_global(const gb_cpu_object *object, const char *name)
{
    const gb_cpu_image *image = gb_cpu_object_image(object);
    for (int i = 0; i < image->global_count; i++)
        if (strcmp(image->globals[i].name, name) == 0) return &image->globals[i];
    fail_msg("no global %s", name);
    return NULL;
}

const gb_cpu_struct *kit_struct(const gb_cpu_object *object, const char *name)
{
    const gb_cpu_image *image = gb_cpu_object_image(object);
    for (int i = 0; i < image->struct_count; i++)
        if (strcmp(image->structs[i].name, name) == 0) return &image->structs[i];
    fail_msg("no struct %s", name);
    return NULL;
}

/* ---- running ---- */

enum { WAIT_NONE, WAIT_BLOCK, WAIT_WARP, ENDED, STACK_BYTES = 64 * 1024 };

typedef struct {
    ucontext_t context;
    unsigned char *stack;
    int state;
    uint32_t mask;      /* of a warp operation */
    uint64_t given;     /* to a barrier or the warp */
    uint64_t result[3]; /* of a block barrier: count, and, or */
} lane;

typedef struct {
    kit_compile *kit;
    const gb_cpu_kernel *kernel;
    const gb_cpu_range *range;
    ucontext_t scheduler;
    lane *lanes;
    uint32_t count, now;
    sigjmp_buf ended;
} block_state;

static void yield_as(block_state *b, int state)
{
    lane *me = &b->lanes[b->now];
    me->state = state;
    swapcontext(&me->context, &b->scheduler);
}

static lane *meet(block_state *b, int predicate)
{
    b->lanes[b->now].given = predicate != 0;
    yield_as(b, WAIT_BLOCK);
    return &b->lanes[b->now];
}

static void barrier(void *self)
{
    meet(self, 0);
}

static int barrier_count(void *self, int predicate)
{
    return (int)meet(self, predicate)->result[0];
}

static int barrier_and(void *self, int predicate)
{
    return (int)meet(self, predicate)->result[1];
}

static int barrier_or(void *self, int predicate)
{
    return (int)meet(self, predicate)->result[2];
}

/* Gives a value to the warp and waits until all of the mask have; values stay readable until each
 * has passed a second meeting. */
static void warp_meet(block_state *b, uint32_t mask, uint64_t value)
{
    b->lanes[b->now].mask = mask;
    b->lanes[b->now].given = value;
    yield_as(b, WAIT_WARP);
}

static lane *warp_lane(block_state *b, uint32_t index)
{
    uint32_t at = (b->now & ~31u) + index;
    if (index > 31 || at >= b->count || b->lanes[at].state == ENDED) return NULL;
    return &b->lanes[at];
}

static void warp_barrier(void *self, uint32_t mask)
{
    warp_meet(self, mask, 0);
}

static uint64_t warp_exchange(void *self, uint32_t mask, uint64_t value, uint32_t source)
{
    block_state *b = self;
    warp_meet(b, mask, value);
    lane *from = source < 32 && mask >> source & 1 ? warp_lane(b, source) : NULL;
    uint64_t got = from ? from->given : value;
    warp_meet(b, mask, value);
    return got;
}

static uint32_t gather(block_state *b, uint32_t mask, uint64_t value, bool match)
{
    uint32_t bits = 0;
    warp_meet(b, mask, value);
    for (uint32_t i = 0; i < 32; i++) {
        lane *other = mask >> i & 1 ? warp_lane(b, i) : NULL;
        if (other && (match ? other->given == value : other->given != 0)) bits |= 1u << i;
    }
    warp_meet(b, mask, value);
    return bits;
}

static uint32_t warp_ballot(void *self, uint32_t mask, int predicate)
{
    return gather(self, mask, predicate != 0, false);
}

static uint32_t warp_match(void *self, uint32_t mask, uint64_t value)
{
    return gather(self, mask, value, true);
}

static uint32_t warp_active(void *self)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < 32; i++) bits |= (uint32_t)(warp_lane(self, i) != NULL) << i;
    return bits;
}

static void print(void *self, const char *text)
{
    kit_compile *kit = ((block_state *)self)->kit;
    size_t size = strlen(kit->printed);
    snprintf(kit->printed + size, sizeof kit->printed - size, "%s", text);
}

__attribute__((noreturn)) static void trap(void *self, const char *text)
{
    block_state *b = self;
    snprintf(b->kit->trap, sizeof b->kit->trap, "%s", text);
    siglongjmp(b->ended, 1);
}

static void lane_main(unsigned low, unsigned high)
{
    block_state *b = (block_state *)(uintptr_t)(low | (uint64_t)high << 32);
    b->kernel->thread(b->range, b->now);
    b->lanes[b->now].state = ENDED;
    swapcontext(&b->lanes[b->now].context, &b->scheduler);
}

static void release_block(block_state *b)
{
    uint64_t ones = 0, waiting = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        if (b->lanes[i].state == WAIT_WARP || b->lanes[i].state == WAIT_NONE) return;
        if (b->lanes[i].state != WAIT_BLOCK) continue;
        waiting++;
        ones += b->lanes[i].given;
    }
    for (uint32_t i = 0; i < b->count; i++) {
        if (b->lanes[i].state != WAIT_BLOCK) continue;
        b->lanes[i].result[0] = ones;
        b->lanes[i].result[1] = ones == waiting;
        b->lanes[i].result[2] = ones > 0;
        b->lanes[i].state = WAIT_NONE;
    }
}

static void release_warp(block_state *b, uint32_t first)
{
    for (uint32_t i = first; i < first + 32 && i < b->count; i++) {
        lane *one = &b->lanes[i];
        if (one->state != WAIT_WARP) continue;
        bool all = true;
        for (uint32_t k = 0; k < 32 && first + k < b->count; k++)
            if (one->mask >> k & 1 && b->lanes[first + k].state != ENDED &&
                b->lanes[first + k].state != WAIT_WARP)
                all = false;
        if (!all) continue;
        uint32_t mask = one->mask;
        for (uint32_t k = 0; k < 32 && first + k < b->count; k++)
            if (mask >> k & 1 && b->lanes[first + k].state == WAIT_WARP)
                b->lanes[first + k].state = WAIT_NONE;
    }
}

static void run_lanes(block_state *b)
{
    for (uint32_t i = 0; i < b->count; i++) {
        lane *one = &b->lanes[i];
        getcontext(&one->context);
        one->state = WAIT_NONE;
        one->context.uc_stack.ss_sp = one->stack;
        one->context.uc_stack.ss_size = STACK_BYTES;
        one->context.uc_link = NULL;
        uint64_t self = (uint64_t)(uintptr_t)b;
        makecontext(&one->context, (void (*)(void))lane_main, 2, (unsigned)self,
                    (unsigned)(self >> 32));
    }
    for (bool left = true; left;) {
        left = false;
        /* a whole warp advances until it meets, then the next: as wild an order as any */
        for (uint32_t i = 0; i < b->count; i++) {
            b->now = i;
            if (b->lanes[i].state == WAIT_NONE) swapcontext(&b->scheduler, &b->lanes[i].context);
            left |= b->lanes[i].state != ENDED;
        }
        for (uint32_t i = 0; i < b->count; i += 32) release_warp(b, i);
        release_block(b);
    }
}

/* The last pieces first: no piece needs another. */
static void run_pieces(const gb_cpu_kernel *kernel, gb_cpu_range *range, uint32_t piece)
{
    uint32_t wide = range->block.x;
    uint64_t pieces = (wide + piece - 1) / piece, total = range->count * pieces;
    range->count = 1;
    for (uint64_t i = total; i-- > 0;) {
        range->first = i / pieces;
        range->x_first = (uint32_t)(i % pieces) * piece;
        range->x_count = wide - range->x_first < piece ? wide - range->x_first : piece;
        kernel->run(range);
    }
}

void kit_run(kit_compile *kit, const gb_cpu_kernel *kernel, kit_shape shape, void **params)
{
    block_state *b = calloc(1, sizeof *b);
    gb_cpu_services services = {b,          barrier,      barrier_count, barrier_and,
                                barrier_or, warp_barrier, warp_exchange, warp_ballot,
                                warp_match, warp_active,  print,         trap};
    uint64_t progress = 0, blocks = (uint64_t)shape.grid.x * shape.grid.y * shape.grid.z;
    volatile int32_t stop = 0;
    unsigned char *shared = aligned_alloc(128, (shape.shared_bytes + 255u) / 128 * 128);
    gb_cpu_range range = {.grid = shape.grid,
                          .block = shape.block,
                          .count = blocks,
                          .params = params,
                          .shared = shared,
                          .shared_bytes = shape.shared_bytes,
                          .services = &services,
                          .progress = &progress,
                          .stop = &stop};
    kit->printed[0] = kit->trap[0] = 0;
    b->kit = kit;
    b->kernel = kernel;
    b->range = &range;
    b->count = shape.block.x * shape.block.y * shape.block.z;
    b->lanes = calloc(b->count, sizeof *b->lanes);
    unsigned char *stacks = malloc((size_t)b->count * STACK_BYTES);
    for (uint32_t i = 0; i < b->count; i++) b->lanes[i].stack = stacks + (size_t)i * STACK_BYTES;
    kit->ended = &b->ended;
    if (sigsetjmp(b->ended, 1) == 0) {
        if (kernel->flags & GB_CPU_PIECES && kit->piece) {
            run_pieces(kernel, &range, kit->piece);
        } else if (!(kernel->flags & GB_CPU_SYNC) && !kit->one_by_one) {
            kernel->run(&range);
        } else {
            for (uint64_t block = 0; block < blocks; block++) {
                kernel->begin_block(&range, block);
                run_lanes(b);
            }
        }
    }
    kit->ended = NULL;
    free(stacks);
    free(shared);
    free(b->lanes);
    free(b);
}

char *kit_read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    char *text = calloc(1, (size_t)size + 1);
    size_t got = fread(text, 1, (size_t)size, file);
    fclose(file);
    text[got] = 0;
    return text;
}
