/* The membership table: one row per silo of a cluster, and one version for all rows. It lives in an
 * engine that many silos share, and it is the only thing they must agree on. Every write is a
 * compare-and-set on the version, so two silos never change it at the same time.
 *
 * Behind this door stands one provider per engine, chosen by the scheme of a URL: memory, sqlite,
 * redis, postgres, etcd.
 *
 * Threads. A provider may block, at most for the time it was given; all calls on one table come
 * from one thread at a time (the cluster's table thread, never a worker and never the system
 * thread). Nothing is connected before the first read.
 * Errors. Negative GB_E...; the detail names the engine, the address and what it said.
 * GB_ECONFLICT: the version moved on, read again. GB_ETIMEDOUT, GB_ELOST: out of reach; a write may
 * or may not have happened, so the next step is a read. GB_EDENIED: the engine refused us.
 * GB_EINVAL: the URL, or rows that cannot be (another format, a limit below). GB_EDENIED, too: a
 * row of a silo with another key (cluster_key); of a dead one it is passed over.
 */
#ifndef GB_CLUSTER_TABLE_H
#define GB_CLUSTER_TABLE_H

#include "base/buf.h"
#include "cluster/secret.h"

#include <stdbool.h>

typedef enum gb_silo_state {
    GB_SILO_JOINING,
    GB_SILO_ACTIVE,
    GB_SILO_DRAINING,
    GB_SILO_STOPPING,
    GB_SILO_DEAD
} gb_silo_state;
const char *gb_silo_state_name(gb_silo_state state);

enum {
    GB_MEMBER_NAME_BYTES = 64,     /* with its NUL, as all of these */
    GB_MEMBER_ADDRESS_BYTES = 64,  /* "127.0.0.1:7001", "[::1]:7001" */
    GB_MEMBER_LABELS_BYTES = 512,  /* "zone=a,role=gpu": sorted, no spaces */
    GB_MEMBER_TYPES_BYTES = 16384, /* the grain types it hosts: sorted, separated by commas */
    GB_MEMBER_VOTES_MAX = 8,
    GB_TABLE_ROWS_MAX = 4096, /* dead ones too */
    GB_TABLE_REMOVE_MAX = 60, /* ids of one removal: engines bound their transactions */
    GB_CLUSTER_NAME_BYTES = 65
};

/* A vote that a silo is dead. */
typedef struct gb_vote {
    uint64_t voter; /* gb_member.id */
    int64_t wall_ns;
} gb_vote;

/* One silo in one of its lives: who restarts gets a new epoch and thereby a new id. */
typedef struct gb_member {
    uint64_t id; /* random, never 0; what the ring, links and votes use */
    char name[GB_MEMBER_NAME_BYTES];
    char address[GB_MEMBER_ADDRESS_BYTES];
    uint64_t epoch;      /* grows with each life of this name */
    uint64_t generation; /* of the whole table: its highest counts; see view.h */
    gb_silo_state state;
    uint32_t returns;   /* how often it became active again after it had been draining */
    bool left;          /* dead: it said so itself, in order; else the others found it so */
    int64_t started_ns; /* wall clock */
    int64_t alive_ns;   /* wall clock of its last sign of life in the table */
    uint32_t vote_count;
    gb_vote votes[GB_MEMBER_VOTES_MAX];
    char *labels, *types; /* owned; "" at least */
} gb_member;

/* What never gets less in a row, whoever writes it; a row where it is less was lost and put back.
 */
static inline uint64_t gb_member_stage(const gb_member *member)
{
    if (member->state == GB_SILO_JOINING) return 0;
    if (member->state >= GB_SILO_STOPPING) return UINT64_MAX - (GB_SILO_DEAD - member->state);
    return 2 * (uint64_t)member->returns + member->state;
}

/* A read of the whole table: one moment of it. */
typedef struct gb_table_view {
    uint64_t version; /* 0: nobody has written yet */
    uint32_t count;
    gb_member *rows; /* owned, sorted by id */
} gb_table_view;

void gb_table_view_fini(gb_table_view *view, gb_mem *mem);

/* A row as bytes (CBOR, a map with a format number), as every provider keeps it, and back. Decoding
 * trusts nothing: GB_EINVAL. */
int gb_member_encode(gb_buf *out, const gb_member *member);
int gb_member_decode(gb_member *out, gb_mem *mem, const void *bytes, size_t size);
void gb_member_fini(gb_member *member, gb_mem *mem);
int gb_member_copy(gb_member *out, gb_mem *mem, const gb_member *from);

typedef struct gb_table gb_table;

typedef struct gb_table_config {
    gb_mem *mem;
    const char *url;      /* "redis://user:pass@host:6379/0", "sqlite:./cluster.db", ... */
    const char *cluster;  /* letters, digits, '.', '_', '-'; rows of others are not seen */
    uint64_t timeout_ns;  /* bound of one operation */
    const gb_secret *key; /* of the cluster: rows are sealed with it; NULL: none */
} gb_table_config;

/* Finds the provider and loads its module (GB_EINVAL names the schemes there are; GB_ENOTYET: not
 * built, and where it was looked for). Connects nothing. No error shows the URL's password. */
int gb_table_open(gb_table **out, const gb_table_config *config);
void gb_table_close(gb_table *table);

int gb_table_read(gb_table *table, gb_table_view *out);

/* Writes one row, new or known, if the table still is as this gb_table saw it last (its read, or
 * its own write) and that was `version`: *written is the new version, one more. Each version also
 * has a random mark in the engine, so a table that was restored from an old copy and has counted up
 * to the same number again is a conflict too. GB_EBUSY: ROWS_MAX rows are there. */
int gb_table_write(gb_table *table, const gb_member *row, uint64_t version, uint64_t *written);

/* Removes rows of dead silos, at most REMOVE_MAX, likewise; ids that are not there are nothing. */
int gb_table_remove(gb_table *table, const uint64_t *ids, uint32_t count, uint64_t version,
                    uint64_t *written);

/* A row's alive_ns alone, without a version (it decides nothing by itself; it tells a person and a
 * joining silo who is long gone). GB_ENOENT: no such row. */
int gb_table_touch(gb_table *table, uint64_t id, int64_t alive_ns);

#endif
