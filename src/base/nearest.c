/* "Did you mean": the edit distance of Levenshtein (1966) over short names. */
#include "base/nearest.h"

#include <string.h>

enum { LENGTH_MAX = 63 };

static int distance(const char *a, const char *b)
{
    size_t rows = strlen(a), columns = strlen(b);
    if (rows > LENGTH_MAX || columns > LENGTH_MAX) return LENGTH_MAX;
    int line[LENGTH_MAX + 1];
    for (size_t k = 0; k <= columns; k++) line[k] = (int)k;
    for (size_t i = 1; i <= rows; i++) {
        int diagonal = line[0];
        line[0] = (int)i;
        for (size_t k = 1; k <= columns; k++) {
            int best = diagonal + (a[i - 1] != b[k - 1]);
            if (line[k] + 1 < best) best = line[k] + 1;
            if (line[k - 1] + 1 < best) best = line[k - 1] + 1;
            diagonal = line[k];
            line[k] = best;
        }
    }
    return line[columns];
}

const char *gb_nearest(const char *name, const char *(*at)(const void *list, int index),
                       const void *list, int count)
{
    const char *best = NULL;
    int best_distance = (int)strlen(name) / 2 + 1;
    for (int i = 0; i < count; i++) {
        int d = distance(name, at(list, i));
        if (d > best_distance) continue;
        best_distance = d - 1; /* of equals the first */
        best = at(list, i);
    }
    return best;
}
