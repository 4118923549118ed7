/* "Did you mean": which known name is nearest to one that is not known, for messages. Any thread.
 */
#ifndef GB_BASE_NEAREST_H
#define GB_BASE_NEAREST_H

/* The name of the list that is nearest to `name`; NULL when none is near. */
const char *gb_nearest(const char *name, const char *(*at)(const void *list, int index),
                       const void *list, int count);

#endif
