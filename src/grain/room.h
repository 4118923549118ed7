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
void gbi_act_free(gb_worker *worker, gb_act *act); /* out of the map; no turns, no queue */
void gbi_act_settle(gb_worker *worker,
                    gb_act *act); /* after a turn: next calls, ending, idleness */
void gbi_act_hook_done(gb_worker *worker, gb_call *hook);
void gbi_act_start(gb_worker *worker, gb_act *act); /* on_activate, or active at once */
void gbi_idle_fire(gb_timer *timer);
gb_act *gbi_act_pick_stateless(gb_worker *worker, gb_type *type, gb_key key, bool *full);

/* call.c */
void gbi_call_arrive(gb_worker *worker, gb_call *call); /* finds or makes the activation */
void gbi_call_answer(gb_worker *worker,
                     gb_call *call); /* rc is set: back to the origin, or done and freed */
void gbi_call_free(gb_call *call);   /* at its origin */
void gbi_call_to_act(gb_worker *worker, gb_act *act, gb_call *call); /* begins it, or queues it */
void gbi_call_enqueue(gb_worker *worker, gb_act *act, gb_call *call);
gb_call *gbi_call_dequeue(gb_worker *worker, gb_act *act);
void gbi_call_unqueue(gb_act *act, gb_call *call);
void gbi_calls_close(gb_worker *worker);

/* turn.c */
void gbi_turn_begin(gb_worker *worker, gb_act *act,
                    gb_call *call); /* makes the body if need be, makes it ready */
void gbi_turn_ready(gb_worker *worker, gb_call *turn, bool hand_over);
bool gbi_turns_run(gb_worker *worker, uint64_t until);
void gbi_turn_kill(gb_worker *worker, gb_call *turn, int rc);
void gbi_turn_unlink(gb_call *turn);

/* wait.c */
void gbi_wait_check(gb_worker *worker,
                    gb_call *suspect); /* queued behind turns: does it wait for itself? */

#endif
