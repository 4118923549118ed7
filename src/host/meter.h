/* What the host has counted, as metrics of the catalog. Workers and devices count for themselves,
 * in plain numbers of their own; here they are read, when somebody asks (docs/design/metrics.md).
 */
#ifndef GB_HOST_METER_H
#define GB_HOST_METER_H

#include "base/buf.h"
#include "host/host.h"

typedef struct gbi_meter gbi_meter;

/* Costs little: the registry is made when it is read first. GB_ENOMEM. */
int gbi_meter_open(gbi_meter **out, gb_host *host);
void gbi_meter_close(gbi_meter *meter); /* NULL is allowed */

/* Appends all of it in the text format of Prometheus. Any thread, one after the other. GB_ENOMEM.
 */
int gbi_meter_text(gbi_meter *meter, gb_buf *out);

#endif
