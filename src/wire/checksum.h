/* The checksum of frames. Below 512 bytes it is XXH64, written from its specification (Collet,
 * "xxHash fast digest algorithm", doc/xxhash_spec.md of the xxHash project, version 0.2.0). From
 * there on it is ours: eight lanes over stripes of 64 bytes in the manner of the same page's XXH3,
 * with keys of our own, folded by XXH64; near twice as fast. It finds damage, not malice: links
 * that need that are TLS. Pure function; any thread.
 */
#ifndef GB_WIRE_CHECKSUM_H
#define GB_WIRE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

uint64_t gb_checksum(const void *bytes, size_t size, uint64_t seed);

#endif
