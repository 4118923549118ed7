/* A network of its own for the chaos test: each silo and client in a network namespace, the test's
 * process as the router between them, at addresses 10.77.PLACE.2. What is blocked there is lost
 * without a word, as on a broken network; an unplugged place also has no route.
 *
 * The namespaces have no names: they belong to processes and end with the last of them, however
 * that ends. As root, or where users may have namespaces. One thread, before any other starts.
 * Errors end the test, but for net_open.
 */
#ifndef GB_TESTS_CLUSTER_CHAOS_NET_H
#define GB_TESTS_CLUSTER_CHAOS_NET_H

#include <stdbool.h>

enum { NET_PLACES_MAX = 16 };

#define NET_ROUTER "10.77.255.1" /* where the router itself listens */

typedef struct net {
    int count;                  /* places; 0: there is no network */
    int spaces[NET_PLACES_MAX]; /* descriptors of their namespaces */
    int rules;                  /* that block something now */
} net;

/* False: not here, and why is printed. */
bool net_open(net *n, int count);

/* A small disk of its own at the folder, for this process and its children, with the network. */
bool net_disk(const char *folder);

void net_address(char out[32], int place, int port);

void net_block(net *n, int from, int to); /* one way */
void net_mute(net *n, int place);         /* nothing comes from it */
void net_deafen(net *n, int place);       /* nothing reaches it */
void net_unplug(net *n, int place);       /* as if a cable was pulled */
void net_heal(net *n);                    /* all of these */

#endif
