/* A small game that drives gpubridge from its own loop: no thread of the host runs Lua. It shows
 *   - a budget for scripts in each frame (gb_poll), with callbacks only in there;
 *   - characters as grains, called through references that are looked up once;
 *   - a question of Lua to the engine (gb.host.player_position());
 *   - a CUDA C++ kernel that moves particles in the engine's own memory, without a copy;
 *   - scripts that are loaded anew while the game runs.
 *
 * Compile it against an installed library:
 *     cc main.c -o game $(pkg-config --cflags --libs gpubridge)
 * or inside a build tree:
 *     cc main.c -o game -I ../../include -L ../../build -lgpubridge
 * Run it with the folder of its grains: ./game grains
 */
#include <gpubridge.h>

#include <stdint.h>
#include <stdio.h>

enum {
    NPCS = 3,
    SPARKS = 4096,
    FRAMES_MAX = 100000,
    RELOAD_FRAME = 20,
    SCRIPTS_US = 2000,
    IDLE_US = 500,
    STEPS = 10
};

typedef struct spark {
    float height, speed;
} spark;

typedef struct game {
    gb_host *host;
    double player;
    struct npc {
        struct game *game;
        const char *name;
        gb_ref *ref;
        int thinking, found;
        double x;
    } npcs[NPCS];
    _Alignas(16) spark sparks[SPARKS]; /* the renderer's memory: kernels work on it in place */
    gb_kernels *kernels;
    gb_buffer *spark_buffer;
    int moving, steps;
} game;

static int report(const char *what, int rc)
{
    fprintf(stderr, "%s: %s: %s\n", what, gb_err_name(rc), gb_err_detail());
    return rc;
}

/* ---- the engine's side ---- */

/* The host's log goes where the engine's goes. Any thread calls it. */
static void on_log(void *user, int level, const char *line)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    (void)user;
    fprintf(stderr, "[%s] %s\n", level >= 0 && level < 4 ? names[level] : "?", line);
}

/* Lua asks the engine: gb.host.player_position(). */
static int player_position(gb_host *host, const gb_value *args, gb_value *results, void *user)
{
    const game *g = user;
    (void)host;
    (void)args;
    return gb_put_number(results, g->player);
}

/* ---- characters ---- */

/* Inside gb_poll, so nothing here needs a lock. */
static void on_thought(gb_host *host, int rc, const gb_value *result, const char *message,
                       void *user)
{
    struct npc *npc = user;
    const char *says = "?";
    (void)host;
    npc->thinking = 0;
    if (rc < 0) { /* a slow thought is no reason to stop: the character thinks again */
        fprintf(stderr, "%s: %s: %s\n", npc->name, gb_err_name(rc), message);
        return;
    }
    gb_as_number(gb_value_at(result, 0), &npc->x);
    gb_as_text(gb_value_at(result, 1), &says);
    if (npc->x == npc->game->player && !npc->found) {
        printf("%s at %g: %s\n", npc->name, npc->x, says);
        npc->found = 1;
    }
}

/* One call at a time for each character, however long its thought takes. */
static int think(struct npc *npc, double seconds)
{
    if (npc->thinking || npc->found) return 0;
    gb_value *args = gb_value_new(npc->game->host);
    gb_put_number(args, seconds); /* a failure stays with args: the call below answers it */
    int rc = gb_ref_call(npc->ref, "think", args, 250, on_thought, npc);
    if (rc < 0) {
        gb_value_free(args); /* it did not start: they are ours still */
        return report(npc->name, rc);
    }
    npc->thinking = 1;
    return 0;
}

/* ---- particles ---- */

static const char spark_source[] =
    "struct spark { float height, speed; };\n"
    "extern \"C\" __global__ void fall(spark *s, float seconds, int n)\n"
    "{\n"
    "    int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
    "    if (i >= n) return;\n"
    "    s[i].speed -= 9.81f * seconds;\n"
    "    s[i].height = fmaxf(0, s[i].height + s[i].speed * seconds);\n"
    "}\n";

static void on_moved(gb_host *host, int rc, const char *message, void *user)
{
    game *g = user;
    (void)host;
    g->moving = 0;
    g->steps += rc == 0;
    if (rc < 0) fprintf(stderr, "sparks: %s: %s\n", gb_err_name(rc), message);
}

/* Starts the next step when the last one has ended: the frame never waits for it. */
static int move_sparks(game *g, float seconds)
{
    if (g->moving) return 0;
    int n = SPARKS;
    gb_shape shape = gb_shape_threads(SPARKS);
    gb_kernel_arg args[] = {{.buffer = g->spark_buffer},
                            {.value = &seconds, .bytes = sizeof seconds},
                            {.value = &n, .bytes = sizeof n}};
    int rc = gb_launch_start(g->kernels, "fall", &shape, args, 3, on_moved, g);
    if (rc < 0) return report("sparks", rc);
    g->moving = 1;
    return 0;
}

/* While the game loads, so it may wait for the compiler (or find the kernel in the cache). On a GPU
 * the engine would give its own device memory, or use gb_buffer_create and upload. */
static int load_sparks(game *g)
{
    gb_kernels_options options;
    gb_kernels_options_init(&options, sizeof options);
    options.source = spark_source;
    options.name = "sparks";
    options.device = 0;
    for (int i = 0; i < SPARKS; i++) g->sparks[i].height = (float)(1 + i % 100);
    int rc = gb_kernels_open(&g->kernels, g->host, &options);
    if (rc >= 0)
        rc = gb_buffer_wrap(&g->spark_buffer, g->host, (uint64_t)(uintptr_t)g->sparks,
                            sizeof g->sparks, 0, NULL, NULL);
    if (rc == GB_ENOTYET) { /* device 0 is a GPU: memory of its own */
        rc = gb_buffer_create(&g->spark_buffer, g->host, sizeof g->sparks, 0);
        if (rc >= 0) rc = gb_buffer_upload(g->spark_buffer, 0, g->sparks, sizeof g->sparks);
    }
    return rc < 0 ? report("sparks", rc) : 0;
}

/* ---- the loop ---- */

static int play(game *g)
{
    const double seconds = 1.0 / 60;
    for (int frame = 0; frame < FRAMES_MAX; frame++) {
        int found = 0, rc;
        for (int i = 0; i < NPCS; i++) {
            if (think(&g->npcs[i], seconds) < 0) return -1;
            found += g->npcs[i].found;
        }
        if (move_sparks(g, (float)seconds) < 0) return -1;
        /* scripts and callbacks, for at most 2 ms of this frame; a step is never cut short. A game
         * that waits for its display gives 0 as the time to wait for something to do */
        if ((rc = gb_poll(g->host, SCRIPTS_US, IDLE_US)) < 0) return report("gb_poll", rc);
        /* here a game would draw its frame */
        if (frame == RELOAD_FRAME) { /* as when an editor has saved a script */
            if ((rc = gb_reload(g->host, NULL)) < 0)
                report("the old scripts go on", rc);
            else
                printf("%d module(s) loaded anew\n", rc);
        }
        if (found == NPCS && g->steps >= STEPS) return 0;
    }
    fprintf(stderr, "nobody found the player\n");
    return -1;
}

static int load(game *g)
{
    int rc = gb_export(g->host, "player_position", player_position, g);
    for (int i = 0; i < NPCS && rc >= 0; i++)
        rc = gb_ref_open(&g->npcs[i].ref, g->host, "Npc", g->npcs[i].name);
    return rc < 0 ? report("loading", rc) : load_sparks(g);
}

int main(int argc, char **argv)
{
    static game g = {.player = 2,
                     .npcs = {{.name = "orc-17"}, {.name = "orc-18"}, {.name = "wizard"}}};
    for (int i = 0; i < NPCS; i++) g.npcs[i].game = &g;
    gb_config config;
    gb_config_init(&config, sizeof config);
    config.workers = 0; /* this thread drives, with gb_poll */
    config.deliver = GB_DELIVER_POLL;
    config.app_dir = argc > 1 ? argv[1] : "grains";
    config.log = on_log;
    config.log_level = 2;
    int rc = gb_open(&g.host, &config);
    if (rc < 0) return report("gb_open", rc), 1;
    int failed = load(&g) < 0 || play(&g) < 0;
    if (!failed) printf("%d sparks moved %d times\n", SPARKS, g.steps);
    gb_close(g.host, 1000);         /* what is under way ends, or is told of it */
    gb_buffer_free(g.spark_buffer); /* handles may go after the host, in any order */
    gb_kernels_close(g.kernels);
    for (int i = 0; i < NPCS; i++) gb_ref_close(g.npcs[i].ref);
    return failed;
}
