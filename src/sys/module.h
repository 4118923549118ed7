/* Shared modules of our own: parts that need a library that few programs use (database clients,
 * TLS). They are loaded when they are first wanted, so that a start costs nothing for them, and
 * they stay loaded. Any thread.
 *
 * They are looked for in GB_MODULE_DIR if that is set, and else in the folder gpubridge beside the
 * program or library that holds this code, and in the folder where an installation puts them.
 */
#ifndef GB_SYS_MODULE_H
#define GB_SYS_MODULE_H

/* The function `symbol` of the module NAME.so. GB_ENOTYET: there is no such module, or a library
 * that it needs is missing: the detail says where it was looked for and what the loader said. */
int gb_module_find(void **symbol_out, const char *name, const char *symbol);

#endif
