/* <stddef.h> for device code; size_t is built in. */
#ifndef GPUBRIDGE_STDDEF_H
#define GPUBRIDGE_STDDEF_H
typedef long ptrdiff_t;
#ifndef NULL
#define NULL 0
#endif
#ifndef offsetof
#ifdef __EDG__ /* NVRTC's front end has another word for it */
#define offsetof(type, member) ((size_t)__INTADDR__(&(((type *)0)->member)))
#else
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif
#endif
#endif
