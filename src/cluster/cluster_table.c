/* The table's thread: it waits for the engine, so that nobody else has to. */
#include "base/err.h"
#include "cluster/cluster_room.h"

#include <stdio.h>
#include <string.h>

void gbi_job_free(gbi_job *job)
{
    gb_mem *mem = job->cluster->mem;
    if (job->row) gb_row_unref(job->row);
    gb_mem_free(mem, job->ids, job->id_count * sizeof *job->ids);
    gb_table_view_fini(&job->view, mem);
    gb_mem_free(mem, job, sizeof *job);
}

static void come_back(gb_node *node, void *reader)
{
    gbi_job *job = GB_CONTAINER(node, gbi_job, node);
    gbi_job_done(reader, job);
    gbi_job_free(job);
}

static void work(gb_table *table, gbi_job *job)
{
    switch (job->kind) {
    case GB_DO_READ:
        job->rc = gb_table_read(table, &job->view);
        break;
    case GB_DO_WRITE:
        job->rc = gb_table_write(table, &job->row->member, job->version, &job->written);
        break;
    case GB_DO_REMOVE:
        job->rc = gb_table_remove(table, job->ids, job->id_count, job->version, &job->written);
        break;
    default:
        job->rc = gb_table_touch(table, job->silo, job->wall_ns);
        break;
    }
    if (job->rc < 0) snprintf(job->detail, sizeof job->detail, "%s", gb_err_detail());
}

static void *table_main(void *user)
{
    gb_cluster *cluster = user;
    gbi_tables *t = &cluster->tables;
    for (;;) {
        pthread_mutex_lock(&t->lock);
        while (!t->first && !t->stop) pthread_cond_wait(&t->wake, &t->lock);
        gbi_job *job = t->first;
        if (job) {
            t->first = job->next;
            if (!t->first) t->last = &t->first;
        }
        bool stop = t->stop;
        pthread_mutex_unlock(&t->lock);
        if (!job) return NULL;
        if (stop) {
            gbi_job_free(job);
            continue;
        }
        work(cluster->table, job);
        job->node.run = come_back;
        gb_mailbox_push(&cluster->mailbox, &job->node);
    }
}

int gbi_tables_start(gb_cluster *cluster)
{
    gbi_tables *t = &cluster->tables;
    if (pthread_create(&t->thread, NULL, table_main, cluster) != 0)
        return gb_err_set(GB_ENOMEM, "the system starts no more threads (membership table)");
    t->started = true;
    return 0;
}

void gbi_tables_put(gb_cluster *cluster, gbi_job *job)
{
    gbi_tables *t = &cluster->tables;
    job->next = NULL;
    pthread_mutex_lock(&t->lock);
    *t->last = job;
    t->last = &job->next;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
}

void gbi_tables_stop(gb_cluster *cluster)
{
    gbi_tables *t = &cluster->tables;
    if (!t->started) return;
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    t->started = false;
}
