/* What the files of this room share. Each function belongs to the file named beside it. */
#ifndef GB_GRAIN_ROOM_H
#define GB_GRAIN_ROOM_H

#include "grain/grain.h"
#include "grain/kind.h"

/* type.c */
void gbi_type_free(gb_type *type);

/* act.c */
int gbi_act_new(gb_worker *worker, gb_type *type, gb_key key,
                gb_act **out); /* STARTING; the kind's open has run */
int gbi_act_forward_new(gb_worker *worker, gb_type *type, gb_key key, gb_worker *to, gb_act **out);
void gbi_act_settle(gb_worker *worker,
                    gb_act *act); /* after a turn: next calls, ending, idleness */
void gbi_act_hook_done(gb_worker *worker, gb_call *hook);
void gbi_act_start(gb_worker *worker, gb_act *act); /* on_activate, or active at once */
void gbi_idle_fire(gb_timer *timer);
void gbi_act_settle_tick(gb_worker *worker, gb_act *act); /* after a timer's turn: no use */
void gbi_act_unplace(gb_worker *worker, gb_type *type,
                     gb_key key);       /* no activation came of it here: home forgets its entry */
void gbi_acts_close(gb_worker *worker); /* the silo ends: instances and timers */
void gbi_acts_free(gb_worker *worker);  /* ... the memory */
gb_act *gbi_act_pick_stateless(gb_worker *worker, gb_type *type, gb_key key, bool *full);

/* call.c */
gb_call *gbi_call_at(gb_worker *worker, uint32_t index, uint32_t serial); /* NULL: it is freed */
void gbi_call_free(gb_call *call);                                        /* at its origin */
void gbi_call_print(char *out, size_t room, const gb_call *call); /* its target; at its origin */
void gbi_call_answer(gb_worker *worker,
                     gb_call *call); /* a turn has ended, rc is set: done and freed, or home */
void gbi_call_return(gb_call *call); /* home as mail, rc is set and the body is gone: done runs
                                        later, also when home is here */
void gbi_call_refuse(gb_worker *worker,
                     gb_call *call); /* it did not begin: to its sender if he looks on, else home */
void gbi_calls_answer(gb_worker *worker); /* the silo ends: done of all, GB_ECLOSED */
void gbi_calls_drop(gb_worker *worker);   /* ... the bodies of their turns */
void gbi_calls_free(gb_worker *worker);   /* ... their memory */

/* route.c */
void gbi_call_arrive(gb_worker *worker, gb_call *call); /* finds or makes the activation */
void gbi_call_to_act(gb_worker *worker, gb_act *act, gb_call *call); /* begins it, or queues it */

bool gbi_far_asks(const gb_type *type); /* are its grains anybody's to activate */
void gbi_far_ended(gb_worker *worker, gb_type *type, gb_key key);

/* queue.c */
gb_call *gbi_call_admit(gb_worker *worker, gb_call *call);
void gbi_call_enqueue(gb_worker *worker, gb_act *act, gb_call *call);
gb_call *gbi_call_dequeue(gb_worker *worker, gb_act *act);
void gbi_call_unqueue(gb_worker *worker, gb_act *act,
                      gb_call *call); /* gbi_queue_refill must follow */
void gbi_queue_refill(gb_worker *worker, gb_act *act);
bool gbi_call_is_over(gb_worker *worker, gb_call *call);
void gbi_call_refuse_late(gb_worker *worker, gb_call *call);

/* turn.c */
void gbi_call_look(gb_worker *worker, gb_act *act, gb_call *call);
void gbi_turn_begin(gb_worker *worker, gb_act *act,
                    gb_call *call); /* makes the body if need be, makes it ready */
void gbi_turn_ready(gb_worker *worker, gb_call *turn, bool hand_over);
bool gbi_turns_run(gb_worker *worker, uint64_t until);
void gbi_turn_kill(gb_worker *worker, gb_call *turn, int rc);
void gbi_turn_unlink(gb_call *turn);

enum { GBI_TIMED_FIRST = 15, GBI_TIMED_SHARE = 16 };

/* It has found its activation. Two looks at the clock cost a tenth of a short turn, so most calls
 * are not timed, and pay for a countdown. From afar a call comes between two passes, when
 * worker->now may be old. */
static inline void gbi_call_came(gb_worker *worker, gb_act *act, gb_call *call)
{
    bool look = act->calls - 1 < GBI_TIMED_FIRST || --worker->timed_in == 0;
    if (__builtin_expect(look || call->way & GB_WAY_AFAR, 0))
        gbi_call_look(worker, act, call);
    else if (!call->came)
        call->came = worker->now;
}

/* wait.c */
void gbi_wait_check(gb_worker *worker,
                    gb_call *suspect); /* queued behind turns: does it wait for itself? */

void gbi_wait_parked(gb_worker *worker,
                     gb_call *turn); /* it has just parked on a call: does that close a circle? */

/* far.h: no turn may begin now */
static inline bool gbi_worker_paused(const gb_worker *worker)
{
    uint64_t until = atomic_load_explicit(&worker->silo->turns_until, memory_order_acquire);
    return __builtin_expect(until != GB_FOREVER, 0) && gb_now(worker->silo->sys) >= until;
}

/* silo.c: no more grains: what is still in the mail is not looked at. Any thread. */
static inline bool gbi_silo_ended(gb_silo *silo)
{
    return atomic_load_explicit(&silo->ended, memory_order_relaxed);
}

#endif
