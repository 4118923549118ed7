/* Condition variables that wait for so long, whatever happens to the wall clock meanwhile. */
#ifndef GB_BASE_COND_H
#define GB_BASE_COND_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

static inline void gb_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

/* The end of a wait of so many ns from now, for pthread_cond_timedwait on such a one. */
static inline struct timespec gb_cond_end(uint64_t ns)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    ns += (uint64_t)at.tv_nsec;
    at.tv_sec += (time_t)(ns / 1000000000u);
    at.tv_nsec = (long)(ns % 1000000000u);
    return at;
}

#endif
