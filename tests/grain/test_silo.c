/* src/grain/silo.c, watch.c, worker.c: quiet, drain, the end, sleeping and waking, stuck turns. */
#include "kit_kind.h"

#include "base/err.h"
#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static kit_to to(int64_t key)
{
    return (kit_to){0, key, -1, 0};
}

static void finish(kit *k)
{
    assert_int_equal(k->wrong, 0);
    kit_close(k);
    assert_int_equal(k->wrong, 0);
}

/* Quiet is true exactly when nothing is under way, in every stage of a call. */
static void test_quiet(void **unused)
{
    seed s = seed_start("grain.silo quiet");
    for (int round = 0; round < 40; round++) {
        kit k;
        kit_ask asks[10];
        int workers = 1 + round % 4;
        kit_open(&k, workers, seed_next(&s));
        kit_define(&k, 0, NULL);
        kit_prog one = {0}, prog = {0};
        kit_add(&one, 1);
        kit_call(&prog, to(3), &one);
        kit_sleep(&prog, 1000);
        kit_spawn(&prog, &one);
        assert_true(gb_silo_quiet(k.silo));
        for (int i = 0; i < 10; i++) kit_ask_at(&k, &asks[i], i % workers, to(i), &prog);
        for (int i = 0; i < 1000; i++) {
            assert_int_equal(gb_silo_quiet(k.silo), kit_calls(&k) == 0);
            bool all = true;
            for (int a = 0; a < 10; a++) all = all && asks[a].done;
            if (gb_silo_quiet(k.silo)) assert_true(all);
            gb_worker_pass(k.silo->workers[seed_below(&s, (uint64_t)workers)], 0);
            if (seed_below(&s, 20) == 0) gb_sim_advance_to(k.sys, gb_now(k.sys) + 500);
        }
        gb_silo_advance(k.silo, GB_SEC);
        assert_true(gb_silo_quiet(k.silo));
        finish(&k);
    }
}

/* Drain ends every activation with its hook; what runs is waited for. */
static void test_drain(void **unused)
{
    kit k;
    kit_ask asks[20];
    kit_open(&k, 3, 1);
    kit_define(&k, 0, NULL);
    kit_note(&k.conf[0].deactivate, 7);
    kit_yield(&k.conf[0].deactivate);
    kit_prog one = {0}, parks = {0};
    kit_add(&one, 1);
    kit_park(&parks, 0);
    for (int i = 0; i < 19; i++) kit_ask_at(&k, &asks[i], 0, to(i), &one);
    kit_ask_at(&k, &asks[19], 0, to(19), &parks);
    kit_settle(&k);
    for (int i = 0; i < 3; i++) gb_worker_drain(k.silo->workers[i]);
    kit_settle(&k);
    bool left = false;
    for (int i = 0; i < 3; i++) left |= !gb_worker_drain(k.silo->workers[i]);
    assert_true(left);
    assert_int_equal(k.instances, 1);
    kit_wake(&k, 0);
    kit_settle(&k);
    assert_int_equal(asks[19].rc, 0);
    for (int i = 0; i < 3; i++) assert_true(gb_worker_drain(k.silo->workers[i]));
    assert_int_equal(k.note_count, 20);
    assert_int_equal(k.instances, 0);
    finish(&k);
}

/* A root holds turns of no grain, is no grain itself, and does not end. */
static void test_root(void **unused)
{
    kit k;
    gb_act *root;
    kit_open(&k, 2, 1);
    kit_define(&k, 0, NULL);
    gb_worker *worker = k.silo->workers[1];
    assert_int_equal(gb_worker_root(worker, k.types[0], &root), 0);
    assert_null(gb_act_find(worker, k.types[0], gb_key_number(1)));
    assert_ptr_equal(gb_act_at(worker, root->slot, root->generation), root);
    gb_act_stop(worker, root, GB_END_ASKED);
    gb_silo_advance(k.silo, 3600 * GB_SEC);
    assert_ptr_equal(gb_act_at(worker, root->slot, root->generation), root);
    assert_true(gb_worker_drain(worker));
    assert_int_equal(gb_type_activations(k.types[0]), 0);
    finish(&k);
}

/* After the end: no calls, and a second stop does nothing. */
static void test_stopped(void **unused)
{
    kit k;
    kit_ask ask;
    kit_prog one = {0};
    kit_open(&k, 2, 1);
    kit_define(&k, 0, NULL);
    kit_add(&one, 1);
    gb_silo_stop(k.silo);
    gb_silo_stop(k.silo);
    k.slow = true;
    assert_int_equal(kit_ask_at(&k, &ask, 0, to(0), &one), GB_ECLOSED);
    finish(&k);
}

/* ---- real workers ---- */

typedef struct hand {
    gb_worker *worker;
    atomic_bool stop;
    pthread_t thread;
} hand;

static void *work(void *user)
{
    hand *h = user;
    gb_worker_loop(h->worker, &h->stop);
    return NULL;
}

static void hand_start(hand *h, gb_worker *worker)
{
    h->worker = worker;
    atomic_init(&h->stop, false);
    assert_int_equal(pthread_create(&h->thread, NULL, work, h), 0);
}

static void hand_stop(hand *h)
{
    atomic_store(&h->stop, true);
    gb_loop_wake(h->worker->loop);
    pthread_join(h->thread, NULL);
}

typedef struct post {
    gb_node node;
    kit *k;
    kit_ask ask;
    kit_to to;
    kit_prog prog;
} post;

static void post_run(gb_node *node, void *reader)
{
    post *p = (post *)node;
    kit_ask_at(p->k, &p->ask, ((gb_worker *)reader)->index, p->to, &p->prog);
}

static bool until_answered(kit *k, int64_t count)
{
    uint64_t limit = gb_now(k->sys) + 60 * GB_SEC;
    while (atomic_load(&k->answered) != count)
        if (gb_now(k->sys) > limit) return false;
    return true;
}

/* A sleeping worker wakes for mail and for a deadline, and sleeps again: an idle silo uses no CPU.
 */
static void test_sleep(void **unused)
{
    kit k;
    hand hands[2];
    kit_open_real(&k, 2);
    kit_define(&k, 0, NULL);
    for (int i = 0; i < 2; i++) hand_start(&hands[i], k.silo->workers[i]);
    post *posts = calloc(20, sizeof *posts);
    for (int round = 0; round < 20; round++) {
        post *p = &posts[round];
        *p = (post){.node.run = post_run, .k = &k, .to = to(round)};
        p->to.timeout_ns = 3 * (int64_t)GB_MS;
        if (round % 2)
            kit_add(&p->prog, 1);
        else
            kit_park(&p->prog, 0);
        gb_worker_post(k.silo->workers[round / 2 % 2], &p->node);
        assert_true(until_answered(&k, round + 1));
    }
    for (int i = 0; i < 2; i++) hand_stop(&hands[i]);
    finish(&k); /* its mailbox may still point at the last post */
    free(posts);
}

/* A world in which each wait does what the test wants. */
typedef struct slow_world {
    gb_sys sys;
    gb_sys *sim;
    gb_mailbox *box;
    gb_node node;
    uint64_t before_mail_ns, to_wake_ns;
    int waits;
} slow_world;

static uint64_t slow_now(gb_sys *sys)
{
    slow_world *w = (slow_world *)sys;
    gb_sim_advance_to(w->sim, gb_now(w->sim) + 10);
    return gb_now(w->sim);
}

static void slow_wait(gb_loop *loop, uint64_t timeout_ns)
{
    slow_world *w = (slow_world *)loop->sys;
    (void)timeout_ns;
    w->waits++;
    gb_sim_advance_to(w->sim, gb_now(w->sim) + w->before_mail_ns);
    gb_mailbox_push(w->box, &w->node);
    gb_sim_advance_to(w->sim, gb_now(w->sim) + w->to_wake_ns);
}

static void slow_wake(gb_loop *loop)
{
    (void)loop;
}

/* A worker that stopped spinning begins again when mail comes soon after it fell asleep, however
 * long it takes to wake it; and stops when mail comes seldom. */
static void test_spin_adapts(void **unused)
{
    kit k;
    kit_open(&k, 1, 1);
    gb_sys_door door = *k.sys->door;
    door.now = slow_now;
    door.loop_wait = slow_wait;
    door.loop_wake = slow_wake;
    gb_worker *worker = k.silo->workers[0];
    slow_world w = {.sys = {&door}, .sim = k.sys, .box = &worker->mailbox};
    gb_loop loop = {.sys = &w.sys}, *own = worker->loop;
    k.silo->sys = &w.sys;
    worker->loop = worker->mailbox.loop = &loop;
    uint64_t most = k.silo->config.spin_ns;
    worker->spin_ns = 0;
    w.before_mail_ns = most / 2;
    w.to_wake_ns = 10 * most;
    gb_worker_wait(worker, GB_FOREVER);
    assert_int_equal(w.waits, 1);
    assert_int_equal(worker->spin_ns, most);
    assert_ptr_equal(gb_mailbox_take(&worker->mailbox), &w.node);
    w.before_mail_ns = 100 * most;
    for (int i = 0; i < 40; i++) {
        gb_worker_wait(worker, GB_FOREVER);
        assert_int_equal(w.waits, 2 + i);
        assert_ptr_equal(gb_mailbox_take(&worker->mailbox), &w.node);
    }
    assert_int_equal(worker->spin_ns, 0);
    k.silo->sys = k.sys;
    worker->loop = worker->mailbox.loop = own;
    finish(&k);
}

/* What its turns wait for: so many pieces of work, then mail. */
typedef struct errand {
    gb_mailbox *box;
    gb_node *mail;
    int pieces, calls;
} errand;

static int run_errand(void *user)
{
    errand *e = user;
    e->calls++;
    if (e->pieces == 0) return 0;
    if (--e->pieces == 0 && e->box) gb_mailbox_push(e->box, e->mail);
    return 1;
}

static bool is_run(void *user)
{
    return ((errand *)user)->pieces == 0;
}

static int about_to_end(void *user)
{
    ((errand *)user)->calls++;
    return 2;
}

/* A worker that waits works at what it waits for, until there is something else to do. */
static void test_waiting_helps(void **unused)
{
    kit k;
    kit_open(&k, 1, 1);
    gb_worker *worker = k.silo->workers[0];
    gb_node mail;
    errand e = {.box = &worker->mailbox, .mail = &mail, .pieces = 3};
    k.silo->config.help = run_errand;
    k.silo->config.busy_user = &e;
    gb_worker_wait(worker, GB_FOREVER);
    assert_int_equal(e.calls, 3);
    assert_false(gb_worker_help(worker, is_run, &(errand){.pieces = 1})); /* there is mail */
    assert_int_equal(e.calls, 3);
    assert_ptr_equal(gb_mailbox_take(&worker->mailbox), &mail);

    e = (errand){.pieces = 5};
    assert_true(gb_worker_help(worker, is_run, &e));
    assert_int_equal(e.calls, 5);
    errand other = {.pieces = 1};
    e.calls = 0;
    assert_false(gb_worker_help(worker, is_run, &other)); /* there is nothing to help */
    assert_int_equal(e.calls, 1);
    k.silo->config.help = NULL;
    assert_false(gb_worker_help(worker, is_run, &other));
    finish(&k);
}

/* Nor does it hold its turn for long when nothing ends. */
static void test_help_ends(void **unused)
{
    kit k;
    kit_open(&k, 1, 1);
    gb_sys_door door = *k.sys->door;
    door.now = slow_now;
    gb_worker *worker = k.silo->workers[0];
    slow_world w = {.sys = {&door}, .sim = k.sys};
    errand e = {.pieces = 1 << 30};
    k.silo->sys = &w.sys;
    k.silo->config.busy_user = &e;
    k.silo->config.help = run_errand;
    uint64_t start = gb_now(k.sys);
    assert_false(gb_worker_help(worker, is_run, &e));
    assert_in_range(gb_now(k.sys) - start, GB_MS, 2 * GB_MS);
    k.silo->config.help = about_to_end;
    start = gb_now(k.sys);
    assert_false(gb_worker_help(worker, is_run, &e));
    assert_in_range(gb_now(k.sys) - start, 0, k.silo->config.spin_ns + 1000);
    assert_true(e.calls > 1);
    k.silo->sys = k.sys;
    finish(&k);
}

static double cpu_of(pthread_t thread)
{
    clockid_t clock;
    struct timespec t;
    assert_int_equal(pthread_getcpuclockid(thread, &clock), 0);
    assert_int_equal(clock_gettime(clock, &t), 0);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* CPU seconds of a thread in the next 200 ms. */
static double cpu_soon(const kit *k, pthread_t thread)
{
    double before = cpu_of(thread);
    uint64_t start = gb_now(k->sys);
    while (gb_now(k->sys) - start < 200 * GB_MS) sched_yield();
    return cpu_of(thread) - before;
}

static void test_idle_uses_no_cpu(void **unused)
{
    kit k;
    hand h;
    kit_open_real(&k, 1);
    hand_start(&h, k.silo->workers[0]);
    double used = 1;
    for (int i = 0; i < 50 && used >= 0.02; i++) used = cpu_soon(&k, h.thread); /* it begins late */
    assert_true(used < 0.02);
    hand_stop(&h);
    finish(&k);
}

/* A turn that does not end is named by the watch, calls to its worker fail, and all is well after.
 * The kit's turns are short, so the beat is set by hand. */
static char told[1000];

static void keep_line(void *user, gb_log_level level, const char *line)
{
    (void)user;
    (void)level;
    snprintf(told, sizeof told, "%s", line);
}

static void test_watch(void **unused)
{
    kit k;
    kit_ask ask;
    gb_watch watch = {0};
    kit_prog one = {0};
    kit_open(&k, 2, 1);
    k.log.sink = keep_line;
    kit_define(&k, 0, NULL);
    kit_add(&one, 1);
    int64_t key = 0;
    while (gb_worker_of_key(k.types[0], gb_key_number(key)) != k.silo->workers[1]) key++;
    kit_ask_at(&k, &ask, 0, to(key), &one);
    kit_settle(&k);
    gb_worker *worker = k.silo->workers[1];
    assert_int_equal(atomic_load(&worker->beat), 0); /* none runs between passes */
    atomic_store(&worker->beat, 12345);
    for (int i = 0; i < 5; i++) {
        gb_watch_look(&watch, k.silo);
        assert_false(atomic_load(&worker->stuck));
        gb_sim_advance_to(k.sys, gb_now(k.sys) + GB_SEC);
    }
    gb_watch_look(&watch, k.silo);
    assert_true(atomic_load(&worker->stuck));
    char id[64];
    gb_key_print(id, sizeof id, k.types[0], gb_key_number(key));
    assert_non_null(strstr(told, id));
    assert_non_null(strstr(told, "run for 5.0 s"));
    assert_null(atomic_load(&worker->looked_at));
    told[0] = 0;
    gb_watch_look(&watch, k.silo);
    assert_int_equal(told[0], 0); /* told once */
    k.slow = true;
    assert_int_equal(kit_ask_at(&k, &ask, 0, to(key), &one), GB_ESTUCK);
    assert_int_equal(kit_ask_at(&k, &ask, 1, to(key), &one), GB_OP_PENDING); /* its own may */
    atomic_store(&worker->beat, 12346);
    gb_watch_look(&watch, k.silo);
    assert_false(atomic_load(&worker->stuck));
    kit_settle(&k);
    assert_int_equal(kit_ask_at(&k, &ask, 0, to(key), &one), GB_OP_PENDING);
    kit_settle(&k);
    assert_int_equal(ask.value, 3);
    finish(&k);
}

typedef struct watcher {
    kit *k;
    atomic_bool stop;
} watcher;

static void *look_on(void *user)
{
    watcher *w = user;
    gb_watch watch = {0};
    while (!atomic_load(&w->stop)) {
        for (int i = 0; i < GB_WORKERS_MAX; i++) watch.seen[i].told = false;
        gb_watch_look(&watch, w->k->silo);
    }
    return NULL;
}

static void test_watch_threads(void **unused)
{
    enum { POSTS = 3000 };
    kit k;
    hand h;
    pthread_t thread;
    kit_open_real(&k, 1);
    gb_type_options options;
    kit_options(&options);
    options.idle_ns = 1000;
    kit_define(&k, 0, &options);
    k.silo->config.stuck_ns = 1; /* it looks at names all the time, while grains come and go */
    hand_start(&h, k.silo->workers[0]);
    watcher w = {.k = &k};
    assert_int_equal(pthread_create(&thread, NULL, look_on, &w), 0);
    post *posts = calloc(POSTS, sizeof *posts);
    for (int i = 0; i < POSTS; i++) {
        posts[i] = (post){.node.run = post_run, .k = &k, .to = to(i % 50)};
        kit_add(&posts[i].prog, 1);
        kit_stop(&posts[i].prog);
        gb_worker_post(k.silo->workers[0], &posts[i].node);
    }
    bool good = until_answered(&k, POSTS);
    atomic_store(&w.stop, true);
    pthread_join(thread, NULL);
    hand_stop(&h);
    assert_true(good);
    finish(&k); /* its mailbox may still point at the last post */
    free(posts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quiet),         cmocka_unit_test(test_drain),
        cmocka_unit_test(test_root),          cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_sleep),         cmocka_unit_test(test_idle_uses_no_cpu),
        cmocka_unit_test(test_spin_adapts),   cmocka_unit_test(test_waiting_helps),
        cmocka_unit_test(test_help_ends),     cmocka_unit_test(test_watch),
        cmocka_unit_test(test_watch_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
