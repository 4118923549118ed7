/* A histogram of 64-bit values in buckets of at most 1/32 relative width (the layout of
 * HdrHistogram, Tene 2012, with 5 significant bits). Fixed size, no allocation. One writer; a torn
 * read of a copy is off by the values in flight and nothing else.
 */
#ifndef GB_BASE_HIST_H
#define GB_BASE_HIST_H

#include <stdint.h>

enum { GB_HIST_SUB_BITS = 5, GB_HIST_BUCKETS = (64 - GB_HIST_SUB_BITS + 1) << GB_HIST_SUB_BITS };

typedef struct gb_hist {
    uint64_t count, sum, max;
    uint64_t buckets[GB_HIST_BUCKETS];
} gb_hist;

void gb_hist_add(gb_hist *hist, uint64_t value);
void gb_hist_merge(gb_hist *into, const gb_hist *from);

/* The upper edge of the bucket that holds the given part (0 .. 1) of the values; 0 when empty. */
uint64_t gb_hist_quantile(const gb_hist *hist, double part);

/* The number of values in buckets that lie wholly at or under the bound. */
uint64_t gb_hist_count_under(const gb_hist *hist, uint64_t bound);

#endif
