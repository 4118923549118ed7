/* A small game that drives gpubridge from its own loop: no thread of the host runs Lua.
 *
 * Compile it against an installed library:
 *     cc main.c -o game $(pkg-config --cflags --libs gpubridge)
 * or inside a build tree:
 *     cc main.c -o game -I ../../include -L ../../build -lgpubridge
 * Run it with the folder of its grains: ./game grains
 */
#include <gpubridge.h>

#include <stdio.h>

enum { NPCS = 3, FRAMES_MAX = 100000 };

typedef struct game {
    double player;
    struct npc {
        struct game *game;
        const char *name;
        int thinking, found;
        double x;
    } npcs[NPCS];
} game;

/* Lua asks the engine: gb.host.player_position(). */
static int player_position(gb_host *host, const gb_value *args, gb_value *results, void *user)
{
    const game *g = user;
    (void)host;
    (void)args;
    return gb_put_number(results, g->player);
}

/* Inside gb_poll, so nothing here needs a lock. */
static void on_thought(gb_host *host, int rc, const gb_value *result, const char *message,
                       void *user)
{
    struct npc *npc = user;
    const char *says = "?";
    (void)host;
    npc->thinking = 0;
    if (rc < 0) {
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

/* One call at a time for each character. */
static int think(gb_host *host, struct npc *npc, double seconds)
{
    if (npc->thinking || npc->found) return 0;
    gb_value *args = gb_value_new(host);
    gb_put_number(args, seconds);
    int rc = gb_call(host, "Npc", npc->name, "think", args, 250, on_thought, npc);
    if (rc < 0) {
        gb_value_free(args); /* it did not start */
        fprintf(stderr, "%s: %s: %s\n", npc->name, gb_err_name(rc), gb_err_detail());
        return rc;
    }
    npc->thinking = 1;
    return 0;
}

static int play(gb_host *host, game *g)
{
    for (int frame = 0; frame < FRAMES_MAX; frame++) {
        int found = 0;
        for (int i = 0; i < NPCS; i++) {
            if (think(host, &g->npcs[i], 1.0 / 60) < 0) return 1;
            found += g->npcs[i].found;
        }
        if (gb_poll(host, 2000, 0) < 0) return 1;
        /* here a game would draw its frame */
        if (found == NPCS) return 0;
    }
    fprintf(stderr, "nobody found the player\n");
    return 1;
}

int main(int argc, char **argv)
{
    game g = {.player = 2, .npcs = {{.name = "orc-17"}, {.name = "orc-18"}, {.name = "wizard"}}};
    for (int i = 0; i < NPCS; i++) g.npcs[i].game = &g;
    gb_config config;
    gb_config_init(&config, sizeof config);
    config.workers = 0;
    config.deliver = GB_DELIVER_POLL;
    config.app_dir = argc > 1 ? argv[1] : "grains";
    gb_host *host;
    int rc = gb_open(&host, &config);
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", gb_err_name(rc), gb_err_detail());
        return 1;
    }
    rc = gb_export(host, "player_position", player_position, &g);
    int failed = rc < 0 || play(host, &g);
    gb_close(host, 1000);
    return failed;
}
