/* A silo's place in a cluster: the thin I/O around the state machines (member.h, directory.h), and
 * the listener. One thread runs all of it, and no turn ever runs there; a second one waits for the
 * engine that keeps the membership table.
 *
 * Threads: functions say. Errors: those of table.h and sys/net.h.
 */
#ifndef GB_CLUSTER_CLUSTER_H
#define GB_CLUSTER_CLUSTER_H

#include "cluster/capacity_book.h"
#include "cluster/carry.h"
#include "cluster/directory.h"
#include "cluster/member.h"

typedef struct gb_cluster gb_cluster;

typedef struct gb_cluster_config {
    gb_mem *mem;
    gb_silo *silo;
    const gb_log *log;
    const char *url;       /* of the membership table */
    const char *cluster;   /* its name */
    const char *name;      /* of this silo; NULL: its address */
    const char *listen;    /* "127.0.0.1:0": any free port */
    const char *advertise; /* how others reach it; NULL: as it listens */
    const char *labels;    /* "zone=a,role=gpu", sorted; NULL: none */
    gb_tls_config tls;     /* ca_file NULL: none. Ours is a silo's (OU=silo) */
    const char *key;       /* of the cluster, or key_file; NULL: none (guard.h) */
    const char *key_file;
    const char *tokens_file;   /* NULL: clients need no token */
    bool open;                 /* may listen on more than the loopback without TLS */
    size_t bytes_max;          /* of one message between silos; 0: 64 MiB */
    uint64_t table_timeout_ns; /* 0: 2 s */
    gb_member_rules member;
    gb_directory_rules directory;
} gb_cluster_config;

void gb_cluster_config_init(gb_cluster_config *config);

/* Takes the port and opens the table (which connects to nothing yet). Before the worker threads of
 * the silo start: it becomes the silo's door to others. GB_EDENIED: it would listen on more than
 * the loopback without TLS, or others may read a secret. */
int gb_cluster_open(gb_cluster **out, const gb_cluster_config *config);
const char *gb_cluster_address(const gb_cluster *cluster); /* where it listens */
const char *gb_cluster_name(const gb_cluster *cluster);    /* of this silo */

/* Starts its threads and joins. types: the grain types that this silo hosts, sorted, separated by
 * commas. The silo serves when gb_cluster_wait says so. */
int gb_cluster_start(gb_cluster *cluster, const char *types);

/* Blocks (never a worker) until it serves: 0; GB_ETIMEDOUT; GB_EDENIED: the table's engine refuses
 * us, or its rows are under another key (it goes on trying, but waiting is of no use); or why it
 * ended. */
int gb_cluster_wait(gb_cluster *cluster, uint64_t timeout_ns);

/* From now on no new grain comes here; undrain: they may come again. */
void gb_cluster_drain(gb_cluster *cluster);
void gb_cluster_undrain(gb_cluster *cluster);

/* Leaves, and waits until the cluster knows. Activations should have ended (GB_DRAIN first). The
 * worker threads still run. */
void gb_cluster_leave(gb_cluster *cluster);

/* On each worker's thread, before it ends. */
void gb_cluster_stop_worker(gb_cluster *cluster, gb_worker *worker);

/* After gb_silo_stop, before gb_silo_close. */
void gb_cluster_close(gb_cluster *cluster);

/* ---- any thread ---- */

gb_view *gb_cluster_view(gb_cluster *cluster); /* a reference; NULL: none yet */
uint64_t gb_cluster_self(gb_cluster *cluster); /* 0: not in the table yet, or no more */

/* What this silo has, as of capacity->updated_ns of its clock. The others hear of it when it is
 * much other than what they know (or at_once), and every 30 s. A silo that does not say it any more
 * is stale after 2 minutes. */
void gb_cluster_tell(gb_cluster *cluster, const gb_capacity *capacity, uint64_t activations,
                     bool at_once);

/* What is known of a silo. GB_ENOENT: nothing, or it is older than 5 minutes. */
int gb_cluster_capacity(gb_cluster *cluster, uint64_t silo, gb_capacity *out,
                        uint64_t *activations);

/* The best silo with so much free on one GPU; GB_ENOENT: none. */
int gb_cluster_best(gb_cluster *cluster, int64_t minimum_mb, uint64_t *silo);
void gb_cluster_capacity_stats(gb_cluster *cluster, gb_book_stats *out);

typedef struct gb_cluster_stats {
    gb_carry_stats calls;
    gb_directory_stats directory;
    int64_t messages_sent, messages_received, message_bytes;
} gb_cluster_stats;
void gb_cluster_get_stats(gb_cluster *cluster, gb_cluster_stats *out);

#endif
