/* Hosts for the tests of the embedding API, and callbacks that remember. */
#ifndef GB_TESTS_KIT_EMBED_H
#define GB_TESTS_KIT_EMBED_H

#include <gpubridge.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Opens a host on tests/host/app; fails the test when it does not open. */
gb_host *kit_open(int workers, gb_deliver deliver);
gb_host *kit_open_config(const gb_config *config); /* app_dir is filled in */
void kit_config(gb_config *config, int workers, gb_deliver deliver);

/* What a callback saw. */
typedef struct kit_answer {
    atomic_int runs;
    int rc, count;
    double number;  /* of the first result */
    char text[256]; /* of the first result, or the message */
    char detail[2048];
    pthread_t thread;
    void (*then)(gb_host *host, struct kit_answer *answer); /* inside the callback */
    void *user;
} kit_answer;

gb_result_fn kit_on_result;

/* Polls until the answer is there. */
void kit_wait(gb_host *host, kit_answer *answer);

/* One call with an integer argument (none: INT64_MIN), polled until it is answered. */
int kit_call(gb_host *host, kit_answer *answer, const char *key, const char *method, int64_t arg);

gb_value *kit_int(gb_host *host, int64_t number);

/* gb.host.gate() of Lua: may a turn go on? */
typedef struct kit_gate {
    atomic_int asked; /* so often */
    atomic_bool open;
} kit_gate;

void kit_gate_export(gb_host *host, kit_gate *gate);

/* Polls until a turn has asked. */
void kit_gate_wait(gb_host *host, kit_gate *gate);

#endif
