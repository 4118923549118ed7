#include "base/unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool gb_unit_parse(const char *text, const gb_unit *units, double *out)
{
    char *end;
    double number = strtod(text, &end);
    if (end == text || !isfinite(number) || number < 0) return false;
    while (*end == ' ') end++;
    for (const gb_unit *one = units; one->name; one++) {
        if (strcmp(end, one->name) != 0) continue;
        *out = number * one->factor;
        return true;
    }
    return false;
}

bool gb_size_parse(const char *text, int64_t *out)
{
    static const gb_unit units[] = {
        {"", 1},  {"B", 1}, {"KB", 1024}, {"MB", 1024.0 * 1024}, {"GB", 1024.0 * 1024 * 1024},
        {NULL, 0}};
    double bytes;
    if (!gb_unit_parse(text, units, &bytes) || bytes > 1e18) return false;
    *out = (int64_t)bytes;
    return true;
}
