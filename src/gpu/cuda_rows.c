/* Finds the table of device/cuda.rows.h in an image: the symbol __gbr_rows of an ELF file (a
 * cubin), or the initialiser of that name in PTX text. */
#include "gpu/cuda_names.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

static const char table[] = "__gbr_rows";

/* ---- ELF ---- */

static bool inside(size_t size, uint64_t offset, uint64_t bytes)
{
    return offset <= size && bytes <= size - offset;
}

static const Elf64_Shdr *section(const uint8_t *image, size_t size, unsigned index)
{
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)image;
    uint64_t offset = head->e_shoff + (uint64_t)index * sizeof(Elf64_Shdr);
    if (index >= head->e_shnum || !inside(size, offset, sizeof(Elf64_Shdr)) || offset % 8)
        return NULL;
    const Elf64_Shdr *found = (const Elf64_Shdr *)(image + offset);
    if (found->sh_type != SHT_NOBITS && !inside(size, found->sh_offset, found->sh_size))
        return NULL;
    return found;
}

static int take_symbol(const uint8_t *image, size_t size, const Elf64_Sym *symbol, gb_buf *out)
{
    const Elf64_Shdr *home = section(image, size, symbol->st_shndx);
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)image;
    if (!home || home->sh_type == SHT_NOBITS) return 0;
    uint64_t at = symbol->st_value; /* within its section, or an address of a loadable file */
    if (head->e_type != ET_REL && at >= home->sh_addr && home->sh_addr) at -= home->sh_addr;
    if (!inside(home->sh_size, at, symbol->st_size)) return 0;
    return gb_buf_put(out, image + home->sh_offset + at, symbol->st_size);
}

static int read_elf(const uint8_t *image, size_t size, gb_buf *out)
{
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)image;
    if (size < sizeof *head || head->e_ident[EI_CLASS] != ELFCLASS64) return 0;
    for (unsigned i = 0; i < head->e_shnum; i++) {
        const Elf64_Shdr *symbols = section(image, size, i);
        if (!symbols || symbols->sh_type != SHT_SYMTAB || symbols->sh_offset % 8) continue;
        const Elf64_Shdr *strings = section(image, size, symbols->sh_link);
        if (!strings) continue;
        const Elf64_Sym *at = (const Elf64_Sym *)(image + symbols->sh_offset);
        for (uint64_t k = 0; k < symbols->sh_size / sizeof *at; k++) {
            if (!inside(strings->sh_size, at[k].st_name, sizeof table)) continue;
            const uint8_t *name = image + strings->sh_offset + at[k].st_name;
            if (memcmp(name, table, sizeof table) == 0)
                return take_symbol(image, size, &at[k], out);
        }
    }
    return 0;
}

/* ---- PTX: .global .align 4 .b8 __gbr_rows[516] = {1, 0, ...}; ---- */

static int read_ptx(const char *text, size_t size, gb_buf *out)
{
    static const char start[] = "__gbr_rows[";
    const char *at = memmem(text, size, start, sizeof start - 1), *end = text + size;
    at = at ? memchr(at, '{', (size_t)(end - at)) : NULL;
    if (!at) return 0;
    for (at++; at < end && *at != '}';) {
        char *next;
        unsigned long value = strtoul(at, &next, 10); /* PTX ends with a NUL */
        if (next == at) return 0;
        uint8_t byte = (uint8_t)value;
        int rc = gb_buf_put(out, &byte, 1);
        if (rc < 0) return rc;
        at = next;
        while (at < end && (*at == ',' || *at == ' ' || *at == '\n' || *at == '\r')) at++;
    }
    return 0;
}

int gbi_cuda_rows(const void *image, size_t size, gb_buf *out)
{
    int rc = size > 4 && memcmp(image, ELFMAG, SELFMAG) == 0 ? read_elf(image, size, out)
                                                             : read_ptx(image, size, out);
    if (rc < 0) return rc;
    return (int)(out->size / sizeof(gbi_cuda_row));
}

/* "[with T = Body]", "[T = Body]": what stands behind the last "T = ". */
void gbi_cuda_row_type(const gbi_cuda_row *row, char *out)
{
    static const char *const scalars[] = {
        NULL,  "bool",         "char",      "unsigned char",      "short", "unsigned short",
        "int", "unsigned int", "long long", "unsigned long long", "float", "double"};
    char text[sizeof row->type];
    memcpy(text, row->type, sizeof text);
    text[sizeof text - 1] = 0;
    const char *at = NULL;
    for (const char *next = text; (next = strstr(next, "T = ")); next += 4) at = next + 4;
    if (!at && row->code > 0 && row->code < 12 && row->lanes == 1) at = scalars[row->code];
    memset(out, 0, sizeof text);
    if (!at) at = "?";
    size_t size = strlen(at);
    if (size && at[size - 1] == ']') size--;
    static const char *const hidden[] = {"<unnamed>::", "(anonymous namespace)::", "{anonymous}::"};
    for (size_t i = 0; i < size;) {
        size_t skip = 0;
        for (int k = 0; k < 3 && !skip; k++)
            if (strncmp(at + i, hidden[k], strlen(hidden[k])) == 0) skip = strlen(hidden[k]);
        if (skip)
            i += skip;
        else
            *out++ = at[i++];
    }
}
