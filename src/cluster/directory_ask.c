/* Questions of this silo to the owners of grains, asked until they are answered. */
#include "base/check.h"
#include "base/err.h"
#include "base/hash.h"
#include "cluster/directory_room.h"

#include <string.h>

static void free_question(gb_directory *d, gb_question *q)
{
    if (q->node.place) gb_heap_remove(&d->timers, &q->node);
    gb_map_remove(&d->seqs, gb_hash_mix(q->seq), q->slot);
    d->questions[q->slot] = d->questions[--d->question_used];
    gb_question *moved = d->questions[q->slot];
    if (moved != q) {
        gb_map_remove(&d->seqs, gb_hash_mix(moved->seq), moved->slot);
        moved->slot = q->slot;
        int rc = gb_map_add(&d->seqs, gb_hash_mix(moved->seq), moved->slot);
        GB_CHECK(rc == 0); /* the place of what was removed */
    }
    d->question_count--;
    gb_mem_free(d->mem, q, sizeof *q + q->size);
}

static gb_question *find_question(const gb_directory *d, uint64_t seq)
{
    uint32_t cursor = 0, slot;
    while ((slot = gb_map_next(&d->seqs, gb_hash_mix(seq), &cursor)) != GB_MAP_NONE) {
        if (d->questions[slot]->seq == seq) return d->questions[slot];
    }
    return NULL;
}

void gbi_dir_asks_close(gb_directory *d)
{
    while (d->question_used) free_question(d, d->questions[d->question_used - 1]);
    if (d->questions) gb_mem_free(d->mem, d->questions, d->question_room * sizeof *d->questions);
}

static void look_at(gb_directory *d, gb_question *q, uint64_t when)
{
    if (q->node.place) gb_heap_remove(&d->timers, &q->node);
    q->node.key = when < q->deadline ? when : q->deadline;
    int rc = gb_heap_push(&d->timers, &q->node);
    GB_CHECK(rc == 0); /* its room was made when it began */
}

/* Ends a question; without memory to say so it is asked again. */
static void finish(gb_directory *d, gb_question *q, int rc, uint64_t silo, gb_view_id view,
                   uint64_t now, gb_directory_actions *out)
{
    gb_directory_action *action = gbi_dir_do(d, out, GB_DIR_ANSWER, NULL, 0);
    if (!action) {
        uint64_t again = now + d->config.rules.answer_wait_ns;
        if (q->deadline < again) q->deadline = again;
        q->asked = 0;
        look_at(d, q, again);
        return;
    }
    action->token = q->token;
    action->rc = rc;
    action->silo = silo;
    if (q->kind == GB_MSG_CLAIM) {
        gb_held *held = gbi_ids_find(&d->held, q->hash, q->id, q->size);
        GB_CHECK(held && held->claiming && held->act == q->act);
        if (rc < 0 || silo != d->silo)
            gbi_ids_remove(&d->held, held);
        else {
            held->claiming = false;
            held->view = view;
        }
    }
    free_question(d, q);
}

static void judge(gb_directory *d, gb_question *q, gb_view_id view, gb_find_status status,
                  uint64_t silo, uint64_t now, gb_directory_actions *out);

static void ask(gb_directory *d, gb_question *q, uint64_t now, gb_directory_actions *out)
{
    q->asked = gb_ring_owner(d->view ? d->view->ring : NULL, q->hash);
    if (q->asked == d->silo) {
        uint64_t silo = 0;
        gb_find_status status =
            gbi_dir_serve(d, d->silo, q->kind, d->view->id, q->id, q->size, q->hash, q->act, &silo);
        judge(d, q, d->view->id, status, silo, now, out);
        return;
    }
    look_at(d, q, now + d->config.rules.answer_wait_ns);
    if (!q->asked) return;
    gb_message *message = gbi_dir_send(d, out, q->asked, q->kind, q->id, q->size);
    if (!message) return;
    message->seq = q->seq;
    message->act = q->act;
}

static void later(gb_directory *d, gb_question *q, uint64_t now)
{
    uint64_t wait = q->later_ns;
    q->later_ns =
        wait * 2 < d->config.rules.answer_wait_ns ? wait * 2 : d->config.rules.answer_wait_ns;
    q->asked = 0;
    look_at(d, q, now + wait);
}

/* What an answer means. A silo that is dead here is no answer: who said so does not know yet. */
static void judge(gb_directory *d, gb_question *q, gb_view_id view, gb_find_status status,
                  uint64_t silo, uint64_t now, gb_directory_actions *out)
{
    bool mine = silo == d->silo;
    if (status == GB_FIND_REFUSED)
        finish(d, q, gb_err_set(GB_EDENIED, "this silo takes no new activations"), 0, view, now,
               out);
    else if (status != GB_FIND_HERE)
        later(d, q, now);
    else if (q->kind == GB_MSG_CLAIM && mine && gb_view_id_order(view, d->view->id) < 0)
        ask(d, q, now, out); /* this silo may have told a newer owner that it does not host it */
    else if (silo && !mine && gb_view_state(d->view, silo) == GB_SILO_DEAD)
        later(d, q, now);
    else
        finish(d, q, 0, q->kind == GB_MSG_FIND && mine ? 0 : silo, view, now, out);
}

/* Room for one more everywhere, so that a question that has begun ends. */
static gb_question *new_question(gb_directory *d, const void *id, uint32_t size)
{
    if (d->question_used == d->question_room) {
        gb_question **questions =
            gb_mem_grow(d->mem, d->questions, &d->question_room, 16, sizeof *questions);
        if (!questions) return NULL;
        d->questions = questions;
    }
    gb_question *q = gb_mem_zalloc(d->mem, sizeof *q + size);
    if (!q) return NULL;
    q->seq = ++d->seq;
    q->size = size;
    q->id = q + 1;
    memcpy(q->id, id, size);
    q->slot = d->question_used;
    if (gb_map_add(&d->seqs, gb_hash_mix(q->seq), q->slot) < 0) {
        gb_mem_free(d->mem, q, sizeof *q + size);
        return NULL;
    }
    d->questions[d->question_used++] = q;
    d->question_count++;
    q->node.key = UINT64_MAX;
    if (gb_heap_push(&d->timers, &q->node) == 0) return q;
    free_question(d, q);
    return NULL;
}

int gbi_dir_ask(gb_directory *d, gb_message_kind kind, uint64_t token, const void *id,
                uint32_t size, uint64_t act, uint64_t deadline, uint64_t now,
                gb_directory_actions *out)
{
    if (d->question_count >= d->config.rules.questions_max)
        return gb_err_set(GB_EBUSY, "%u questions to the directory are under way",
                          d->question_count);
    gb_question *q = new_question(d, id, size);
    if (!q) return GB_ENOMEM;
    q->kind = kind;
    q->token = token;
    q->act = act;
    q->hash = gb_directory_hash(d->config.hash_seed, id, size);
    q->deadline = deadline;
    q->later_ns = d->config.rules.later_min_ns;
    ask(d, q, now, out);
    return 0;
}

void gbi_dir_answered(gb_directory *d, uint64_t from, const gb_message *message, uint64_t now,
                      gb_directory_actions *out)
{
    gb_question *q = find_question(d, message->seq);
    if (q && q->asked == from)
        judge(d, q, message->view, (gb_find_status)message->status, message->silo, now, out);
}

void gbi_dir_ask_again(gb_directory *d, uint64_t now, gb_directory_actions *out)
{
    for (gb_heap_node *top; (top = gb_heap_top(&d->timers)) && top->key <= now;) {
        gb_question *q = (gb_question *)((char *)top - offsetof(gb_question, node));
        if (now >= q->deadline)
            finish(d, q, gb_err_set(GB_ETIMEDOUT, "no answer from the directory"), 0,
                   (gb_view_id){0}, now, out);
        else
            ask(d, q, now, out);
    }
}

/* The ring changed: questions to a silo that is not asked any more go to the next one at once. */
void gbi_dir_asks_moved(gb_directory *d, uint64_t now, gb_directory_actions *out)
{
    for (uint32_t i = 0; i < d->question_used; i++) {
        gb_question *q = d->questions[i];
        if (q->asked && gb_ring_owner(d->view->ring, q->hash) != q->asked) {
            q->asked = 0;
            look_at(d, q, now);
        }
    }
    gbi_dir_ask_again(d, now, out);
}
