/* gpubridge.h as the inside sees it. Three public names are also names of types on lower floors
 * (gb_call and gb_launch are functions outside, gb_buffer another type): here they get out of the
 * way. The two functions are defined in front.c, which sees only the public header. */
#ifndef GB_HOST_PUBLIC_H
#define GB_HOST_PUBLIC_H

#include "base/check.h"
#include "base/err.h"

#define gb_call gb_call_function
#define gb_launch gb_launch_function
#define gb_buffer gb_public_buffer
#include <gpubridge.h>
#undef gb_call
#undef gb_launch
#undef gb_buffer

#endif
