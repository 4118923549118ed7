#include "kit_town.h"

#include "base/check.h"
#include "base/err.h"

#include <stdlib.h>
#include <string.h>

/* On a line: a call, its answer, a question behind it, or a word to oneself. */
typedef struct item {
    gb_list link;
    enum { CALL, ANSWER, QUESTION, HERE } kind;
    gb_call *call; /* at who made it */
    uint32_t serial;
    gb_worker *holder;
    gb_question question;
} item;

/* A call that is served at another silo. */
typedef struct sent {
    gb_list link;
    town *town;
    gb_call *call, *remote;
    uint32_t serial;
    int from, to;
    bool lost;
} sent;

static void put(town *t, int from, int to, item what)
{
    item *i = malloc(sizeof *i);
    GB_CHECK(i);
    *i = what;
    gb_list_init(&i->link);
    gb_list_push(&t->lines[from][to], &i->link);
}

/* NULL: it is answered, and may be another call by now. */
static sent *sent_of(town *t, const gb_call *call, uint32_t serial)
{
    for (gb_list *at = t->sent.next; at != &t->sent; at = at->next) {
        sent *s = GB_CONTAINER(at, sent, link);
        if (s->call == call && s->serial == serial && !s->lost) return s;
    }
    return NULL;
}

static void sent_free(sent *s)
{
    gb_list_unlink(&s->link);
    free(s);
}

/* ---- the door ---- */

static int known(gb_far *far, gb_worker *worker, gb_call *call)
{
    (void)far, (void)worker, (void)call;
    return GB_OP_READY;
}

static int place(gb_far *far, gb_worker *worker, gb_call *call)
{
    town_door *d = GB_CONTAINER(far, town_door, far);
    int owner = d->town->owner[call->key.number];
    d->asked++;
    if (owner < 0) return gb_err_set(GB_EBUSY, "nobody wants it");
    if (d->town->door[owner].dead) return gb_err_set(GB_ELOST, "its silo is dead");
    if (owner == d->index && !d->late && !atomic_load(&call->type->foreign)) {
        d->here[call->key.number]++;
        return GB_OP_READY;
    }
    put(d->town, d->index, owner,
        (item){.kind = owner == d->index ? HERE : CALL, .call = call, .holder = worker});
    return GB_OP_PENDING;
}

static void ended(gb_far *far, gb_worker *worker, gb_type *type, gb_key key)
{
    (void)worker, (void)type;
    town_door *d = GB_CONTAINER(far, town_door, far);
    d->ended++;
    d->here[key.number]--;
}

static void ask(gb_far *far, gb_worker *worker, gb_call *call, const gb_question *question)
{
    (void)worker;
    town_door *d = GB_CONTAINER(far, town_door, far);
    int owner = d->town->owner[call->key.number];
    if (owner == d->index || d->town->door[owner].dead) return;
    d->questions++;
    put(d->town, d->index, owner,
        (item){.kind = QUESTION, .call = call, .serial = call->serial, .question = *question});
}

static uint64_t self(gb_far *far)
{
    return 100 + (uint64_t)GB_CONTAINER(far, town_door, far)->index;
}

/* ---- lines ---- */

static void answered(gb_call *remote)
{
    sent *s = remote->user;
    gb_call *call = s->call;
    if (!s->lost) {
        if (remote->rc < 0)
            gb_call_fail(call, remote->rc, "%s", remote->message ? remote->message : "");
        call->bytes.size = 0;
        if (remote->body && remote->rc >= 0) GB_CHECK(remote->type->kind->pack(remote) >= 0);
        GB_CHECK(gb_buf_put(&call->bytes, remote->bytes.data, remote->bytes.size) == 0);
        put(s->town, s->to, s->from, (item){.kind = ANSWER, .call = call});
    }
    sent_free(s);
}

static void deliver(town *t, int from, int to, gb_call *call)
{
    kit *k = &t->kit[to];
    gb_call *remote = gb_call_new(k->silo->workers[0]);
    sent *s = calloc(1, sizeof *s);
    GB_CHECK(remote && s);
    *s = (sent){
        .town = t, .call = call, .serial = call->serial, .remote = remote, .from = from, .to = to};
    gb_list_init(&s->link);
    gb_list_push(&t->sent, &s->link);
    remote->type = gb_type_find(k->silo, call->type->name->text);
    remote->method = gb_sym_get(k->silo, call->method->text, call->method->size);
    GB_CHECK(gb_call_set_key(remote, call->key) == 0);
    GB_CHECK(gb_buf_put(&remote->bytes, call->bytes.data, call->bytes.size) == 0);
    remote->deadline = call->deadline;
    remote->flags = call->flags & GB_CALL_ONEWAY;
    remote->way = GB_WAY_AFAR;
    remote->done = answered;
    remote->user = s;
    int rc = gb_call_send(remote);
    if (rc == GB_OP_PENDING) return;
    sent_free(s);
    if (rc < 0) {
        gb_call_fail(call, rc, "%s", gb_err_detail());
        gb_call_drop(remote);
    }
    gb_far_answer(call);
}

bool town_pass(town *t, int from, int to)
{
    gb_list *link = gb_list_shift(&t->lines[from][to]);
    if (!link) return false;
    item *i = GB_CONTAINER(link, item, link), what = *i;
    free(i);
    sent *s;
    switch (what.kind) {
    case HERE:
        t->door[to].here[what.call->key.number]++;
        gb_far_here(what.holder, what.call);
        break;
    case CALL:
        deliver(t, from, to, what.call);
        break;
    case ANSWER:
        gb_far_answer(what.call);
        break;
    case QUESTION:
        s = sent_of(t, what.call, what.serial);
        if (s) gb_far_asked(t->kit[to].silo->workers[0], s->remote, &what.question);
        break;
    }
    return true;
}

void town_run(town *t)
{
    for (int i = 0; i < t->count; i++)
        if (!t->door[i].dead) kit_settle(&t->kit[i]);
}

void town_settle(town *t)
{
    bool any = true;
    while (any) {
        any = false;
        town_run(t);
        for (int from = 0; from < t->count; from++)
            for (int to = 0; to < t->count; to++)
                while (town_pass(t, from, to)) any = true;
    }
}

void town_stir(town *t, seed *s)
{
    for (uint64_t steps = seed_below(s, 12); steps > 0; steps--) {
        int a = (int)seed_below(s, (uint64_t)t->count), b = (int)seed_below(s, (uint64_t)t->count);
        if (seed_below(s, 2)) {
            town_pass(t, a, b);
        } else if (!t->door[a].dead) {
            gb_silo *silo = t->kit[a].silo;
            gb_worker_pass(silo->workers[seed_below(s, (uint64_t)silo->worker_count)], 0);
            kit_check(&t->kit[a]);
        }
    }
}

void town_advance(town *t, uint64_t ns)
{
    for (int i = 0; i < t->count; i++)
        if (!t->door[i].dead) gb_silo_advance(t->kit[i].silo, ns);
}

/* ---- the whole ---- */

void town_open(town *t, int count, int workers, uint64_t number)
{
    memset(t, 0, sizeof *t);
    t->count = count;
    gb_list_init(&t->sent);
    for (int i = 0; i < count; i++) {
        for (int to = 0; to < count; to++) gb_list_init(&t->lines[i][to]);
        kit_open(&t->kit[i], workers, number + (uint64_t)i);
        t->door[i].far =
            (gb_far){.known = known, .place = place, .ended = ended, .ask = ask, .self = self};
        t->door[i].town = t;
        t->door[i].index = i;
        gb_silo_set_far(t->kit[i].silo, &t->door[i].far, 7);
    }
    for (int key = 0; key < KIT_KEYS; key++) t->owner[key] = key % count;
}

void town_define(town *t, int type, const gb_type_options *options)
{
    for (int i = 0; i < t->count; i++) GB_CHECK(kit_define(&t->kit[i], type, options));
}

static void lose(gb_call *call)
{
    gb_call_fail(call, GB_ELOST, "its silo is dead");
    gb_far_answer(call);
}

void town_kill(town *t, int silo)
{
    t->door[silo].dead = true;
    for (int other = 0; other < t->count; other++)
        for (int way = 0; way < 2; way++) {
            gb_list *line = way ? &t->lines[silo][other] : &t->lines[other][silo], *link;
            while ((link = gb_list_shift(line))) {
                item *i = GB_CONTAINER(link, item, link);
                bool ours = way ? i->kind == ANSWER : i->kind == CALL;
                if (ours && other != silo) lose(i->call);
                free(i);
            }
        }
    for (gb_list *at = t->sent.next; at != &t->sent; at = at->next) {
        sent *s = GB_CONTAINER(at, sent, link);
        if (s->lost || (s->from != silo && s->to != silo)) continue;
        s->lost = true;
        if (s->to == silo) lose(s->call);
    }
}

void town_close(town *t)
{
    for (int i = 0; i < t->count; i++) {
        GB_CHECK(t->door[i].dead || kit_calls(&t->kit[i]) == 0);
        kit_close(&t->kit[i]);
        GB_CHECK(t->kit[i].wrong == 0);
    }
    GB_CHECK(gb_list_empty(&t->sent));
}
