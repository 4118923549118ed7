#include "base/hist.h"

static unsigned bucket_of(uint64_t value)
{
    if (value < (1u << GB_HIST_SUB_BITS)) return (unsigned)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - GB_HIST_SUB_BITS;
    return ((shift + 1) << GB_HIST_SUB_BITS) +
           (unsigned)((value >> shift) & ((1u << GB_HIST_SUB_BITS) - 1));
}

static uint64_t upper_edge(unsigned bucket)
{
    unsigned group = bucket >> GB_HIST_SUB_BITS, sub = bucket & ((1u << GB_HIST_SUB_BITS) - 1);
    if (group == 0) return sub;
    unsigned shift = group - 1;
    return (((uint64_t)((1u << GB_HIST_SUB_BITS) + sub + 1)) << shift) - 1;
}

void gb_hist_add(gb_hist *hist, uint64_t value)
{
    hist->count++;
    hist->sum += value;
    if (value > hist->max) hist->max = value;
    hist->buckets[bucket_of(value)]++;
}

void gb_hist_merge(gb_hist *into, const gb_hist *from)
{
    into->count += from->count;
    into->sum += from->sum;
    if (from->max > into->max) into->max = from->max;
    for (unsigned i = 0; i < GB_HIST_BUCKETS; i++) into->buckets[i] += from->buckets[i];
}

uint64_t gb_hist_quantile(const gb_hist *hist, double part)
{
    if (hist->count == 0) return 0;
    uint64_t want = (uint64_t)(part * (double)hist->count + 0.5), seen = 0;
    if (want == 0) want = 1;
    for (unsigned i = 0; i < GB_HIST_BUCKETS; i++) {
        seen += hist->buckets[i];
        if (seen >= want) {
            uint64_t edge = upper_edge(i);
            return edge < hist->max ? edge : hist->max;
        }
    }
    return hist->max;
}

uint64_t gb_hist_count_under(const gb_hist *hist, uint64_t bound)
{
    uint64_t seen = 0;
    for (unsigned i = 0; i < GB_HIST_BUCKETS && upper_edge(i) <= bound; i++)
        seen += hist->buckets[i];
    return seen;
}
