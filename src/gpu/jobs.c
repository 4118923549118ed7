/* The compile pool: threads for what blocks. Threads are started when a job finds none idle, up to
 * half the cores, and stay until the room closes. */
#include "base/check.h"
#include "base/err.h"
#include "gpu/front.h"
#include "sys/cores.h"

#include <signal.h>

int gbi_jobs_open(gbi_jobs *jobs, gb_mem *mem)
{
    int cores = gb_cores();
    jobs->thread_room = cores > 3 ? cores / 2 : 1;
    jobs->threads = gb_mem_zalloc(mem, (size_t)jobs->thread_room * sizeof jobs->threads[0]);
    if (!jobs->threads) return GB_ENOMEM;
    pthread_mutex_init(&jobs->lock, NULL);
    pthread_cond_init(&jobs->more, NULL);
    gb_list_init(&jobs->waiting);
    return 0;
}

static void *job_thread(void *arg)
{
    gbi_jobs *jobs = arg;
    pthread_mutex_lock(&jobs->lock);
    for (;;) {
        gb_list *node = gb_list_shift(&jobs->waiting);
        if (node) {
            pthread_mutex_unlock(&jobs->lock);
            gbi_job *job = GB_CONTAINER(node, gbi_job, link);
            job->run(job);
            pthread_mutex_lock(&jobs->lock);
            continue;
        }
        if (jobs->closing) break;
        jobs->idle_count++;
        pthread_cond_wait(&jobs->more, &jobs->lock);
        jobs->idle_count--;
    }
    pthread_mutex_unlock(&jobs->lock);
    return NULL;
}

/* Signals of the process are the embedder's threads' business. */
static int start_thread(gbi_jobs *jobs)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&jobs->threads[jobs->thread_count], NULL, job_thread, jobs);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed) return gb_err_set(GB_ENOMEM, "no thread for compiling could be started");
    jobs->thread_count++;
    return 0;
}

/* While the room closes no thread is started any more: a job that adds another one comes back to
 * its own thread, which runs it. */
int gbi_jobs_add(gbi_jobs *jobs, gb_mem *mem, gbi_job *job)
{
    pthread_mutex_lock(&jobs->lock);
    bool full = jobs->idle_count > 0 || jobs->thread_count == jobs->thread_room;
    int rc = jobs->closing ? GB_ECLOSED : full ? 0 : start_thread(jobs);
    if (jobs->thread_count > 0) { /* a job waits for a busy thread rather than fail */
        rc = 0;
        gb_list_push(&jobs->waiting, &job->link);
        pthread_cond_signal(&jobs->more);
    }
    pthread_mutex_unlock(&jobs->lock);
    return rc;
}

bool gbi_jobs_busy(gbi_jobs *jobs)
{
    pthread_mutex_lock(&jobs->lock);
    bool busy = jobs->thread_count > jobs->idle_count || !gb_list_empty(&jobs->waiting);
    pthread_mutex_unlock(&jobs->lock);
    return busy;
}

void gbi_jobs_close(gbi_jobs *jobs, gb_mem *mem)
{
    pthread_mutex_lock(&jobs->lock);
    jobs->closing = true;
    int count = jobs->thread_count;
    pthread_cond_broadcast(&jobs->more);
    pthread_mutex_unlock(&jobs->lock);
    for (int i = 0; i < count; i++) pthread_join(jobs->threads[i], NULL);
    pthread_mutex_destroy(&jobs->lock);
    pthread_cond_destroy(&jobs->more);
    gb_mem_free(mem, jobs->threads, (size_t)jobs->thread_room * sizeof jobs->threads[0]);
}
