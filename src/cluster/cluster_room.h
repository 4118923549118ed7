/* What the files around the machines share: cluster.c (opening, the thread), cluster_step.c (what
 * the machines ask for), cluster_place.c (on which silo a grain is
 * to be, and who has which capacity), cluster_wire.c (messages between silos), cluster_noise.c
 * (what strangers and others make it say), cluster_table.c (the table's thread). */
#ifndef GB_CLUSTER_CLUSTER_ROOM_H
#define GB_CLUSTER_CLUSTER_ROOM_H

#include "cluster/cluster.h"
#include "cluster/place.h"

#include <pthread.h>

enum { GBI_FRAME_MESSAGE = 16, GBI_WAITING_BYTES = 1 << 20 };

/* A link to one silo for messages (or, from: one over which its messages come). */
typedef struct gbi_wire {
    gb_list link;
    gb_cluster *cluster;
    uint64_t silo;
    char peer[GB_ADDRESS_BYTES]; /* who connected to us */
    gb_link *wire;               /* NULL: not connected */
    gb_buf waiting;              /* messages for when it is ready: u32 size, bytes */
} gbi_wire;

/* What the table's thread is to do, and then what came of it. */
typedef struct gbi_job {
    gb_node node;
    struct gbi_job *next;
    gb_cluster *cluster;
    gb_member_action_kind kind;
    uint64_t version, silo;
    int64_t wall_ns;
    gb_row *row;
    uint64_t *ids;
    uint32_t id_count;
    int rc;
    uint64_t written;
    gb_table_view view;
    uint64_t life; /* of the machine that asked */
    char detail[300];
} gbi_job;

typedef struct gbi_tables {
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    gbi_job *first, **last;
    bool stop;
} gbi_tables;

/* What another thread wants of the machine of membership. */
typedef void gbi_wish_fn(gb_membership *m, gb_times at, gb_member_actions *out);

typedef struct gbi_wish {
    gb_node node;
    gbi_wish_fn *fn;
    atomic_bool under_way;
} gbi_wish;

/* What others can make this silo say as often as they like: so many lines, and then a number. */
typedef enum gbi_noise_kind { GBI_NOISE_REFUSED, GBI_NOISE_SLOW, GBI_NOISES } gbi_noise_kind;

typedef struct gbi_noise {
    uint64_t until; /* so long lines are counted */
    uint32_t count;
} gbi_noise;

struct gb_cluster {
    gb_cluster_config config;
    gb_mem *mem;
    gb_sys *sys;
    gb_table *table;
    gb_tls *tls; /* NULL: none */
    gb_guard *guard;
    gb_loop *loop;
    gb_mailbox mailbox;
    gb_listener *listener;
    gb_greeter *greeter;
    gb_carry *carry;
    uint64_t seed;
    char *types;
    char address[GB_MEMBER_ADDRESS_BYTES];
    pthread_t thread;
    bool started;
    gbi_wish drain, undrain, stop;
    /* the cluster's thread */
    gb_membership *member;
    uint64_t life; /* counts the machines */
    gb_member_actions actions;
    gb_list outs, ins; /* gbi_wire */
    bool leaving, ended;
    bool trouble_reading;
    uint64_t trouble_next;  /* when that is said again */
    uint64_t review_next;   /* when the tokens are looked at again */
    uint64_t warn_next;     /* ... and the end of our certificate */
    uint64_t capacity_next; /* when all hear of the capacity again */
    gbi_tables tables;
    /* any thread */
    pthread_mutex_t lock; /* directory, dir_actions' content, view */
    gb_directory *directory;
    gb_view *view;
    gb_book book;
    gb_place place;
    gb_capacity told; /* by gb_cluster_tell, and how many activations */
    uint64_t told_activations;
    bool has_told;
    bool tell_now; /* it is new: the others are to hear of it */
    pthread_mutex_t state_lock;
    gbi_noise noise[GBI_NOISES];
    pthread_cond_t state_changed;
    char trouble[300];  /* why the table is out of reach */
    bool denied;        /* ... and it does not go away by itself */
    bool serving, over; /* over: the thread does nothing any more */
    gb_member_why why;
    _Atomic uint64_t self;
    _Atomic int64_t sent, received, bytes;
};

/* ---- cluster_step.c ---- */

gb_times gbi_times(const gb_cluster *cluster);

/* Does what the machine has asked for; after every step of it. */
void gbi_cluster_act(gb_cluster *cluster);
int gbi_machines_open(gb_cluster *cluster, uint64_t epoch_min);
void gbi_machines_close(gb_cluster *cluster);
void gbi_job_done(gb_cluster *cluster, gbi_job *job);
void gbi_cluster_say(const gb_cluster *cluster, gb_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A step of the directory: fn makes it under the lock; what it asks for is done outside. */
typedef struct gbi_dir_step {
    gb_directory_actions actions;
    uint64_t now;
} gbi_dir_step;
void gbi_dir_begin(gb_cluster *cluster, gbi_dir_step *step);
void gbi_dir_end(gb_cluster *cluster, gbi_dir_step *step);

extern const gb_carry_config gbi_door_questions; /* but for what cluster.c fills in */

/* ---- cluster_noise.c; user: the cluster ---- */

void gbi_noise_tick(gb_cluster *cluster, uint64_t now); /* each second or so */

/* Any thread. */
void gbi_cluster_refused(void *user, const char *peer, const char *why);
void gbi_cluster_slow(void *user, uint64_t silo, const char *peer, const gb_grant *grant, bool on,
                      const char *what);

/* ---- cluster_place.c ---- */

int gbi_door_choose(void *user, const gb_type *type, gb_key key, uint64_t *silo);

/* The cluster's thread. Tells one silo (0: all) what this one has, or nothing when it does not know
 * it yet. */
void gbi_capacity_send(gb_cluster *cluster, uint64_t silo);
void gbi_capacity_fill(gb_cluster *cluster, gb_message *message);
void gbi_capacity_heard(gb_cluster *cluster, uint64_t silo, const gb_message *message);
void gbi_capacity_tick(gb_cluster *cluster);

/* ---- cluster_wire.c ---- */

extern _Thread_local const gb_cluster *gbi_cluster_here; /* the one whose thread this is */

/* any thread */
void gbi_wire_send(gb_cluster *cluster, uint64_t silo, const gb_message *message);
/* the cluster's thread */
void gbi_wire_send_all(gb_cluster *cluster, const gb_message *message);
void gbi_wire_keep(gb_cluster *cluster, uint64_t silo);
void gbi_wire_forget(gb_cluster *cluster, uint64_t silo);
void gbi_wire_accept(gb_cluster *cluster, const gb_hello *hello, const gb_grant *grant,
                     gb_pipe_end end);
void gbi_wires_close(gb_cluster *cluster);

/* ---- cluster_table.c ---- */

int gbi_tables_start(gb_cluster *cluster);
void gbi_tables_put(gb_cluster *cluster, gbi_job *job);
void gbi_tables_stop(gb_cluster *cluster);
void gbi_job_free(gbi_job *job);

#endif
