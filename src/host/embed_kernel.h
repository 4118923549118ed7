/* Kernels and buffers of the program, from inside. Their handles outlive the host: what they hold
 * of its devices is let go by gb_close. */
#ifndef GB_HOST_EMBED_KERNEL_H
#define GB_HOST_EMBED_KERNEL_H

#include "gpu/gpu.h"
#include "host/embed.h"

struct gb_kernels {
    gb_list link; /* in embed->kernels, under host->handles_lock */
    gb_host *host;
    gb_module *module; /* NULL: the host has closed */
    gb_queue *queue;
    pthread_mutex_t lock; /* of the queue */
};

struct gb_host_buffer {
    gb_list link; /* in embed->buffers, under host->handles_lock */
    gb_host *host;
    gb_buffer *inner; /* NULL: the host has closed */
    gb_queue *queue;
    size_t bytes;
    pthread_mutex_t lock; /* of the queue */
};

/* An operation that this thread waits for. */
typedef struct gbi_sync {
    gb_op op;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool done;
    int rc;
} gbi_sync;

void gbi_sync_init(gbi_sync *sync);
/* started: what the start returned. The rc of the operation, with its text as the detail; fini. */
int gbi_sync_wait(gbi_sync *sync, int started);

/* Waits for what is in a queue. */
int gbi_queue_finish(gb_queue *queue);

/* -1: the first. GB_EDEVICE: there is no such device. */
int gbi_device(gb_device **out, gb_host *host, int index);

/* Links a handle into one of the lists, with a reference of the host. */
void gbi_handle_add(gb_host *host, gb_list *list, gb_list *link);

#endif
