/* Constructs of CUDA C++ that the cpu backend does not have, and a brace that is missing: an error
 * that names it, at its place, rather than whatever the compiler makes of it. */
#include "gpu/source_room.h"

#include "base/err.h"

#include <string.h>

typedef struct {
    const char *word; /* a trailing * matches any end */
    const char *text;
} refusal;

static const refusal refusals[] = {
    {"<<<", "a launch from a kernel (dynamic parallelism) is not supported by the cpu backend"},
    {"asm", "inline PTX assembly is not supported by the cpu backend; guard it with "
            "#ifndef __GPUBRIDGE_CPU__"},
    {"__asm__", "inline PTX assembly is not supported by the cpu backend; guard it with "
                "#ifndef __GPUBRIDGE_CPU__"},
    {"__asm", "inline PTX assembly is not supported by the cpu backend"},
    {"__managed__", "__managed__ variables are not supported; use a unified buffer"},
    {"__cluster_dims__", "thread block clusters are not supported by the cpu backend"},
    {"cluster_dim*", "thread block clusters are not supported by the cpu backend"},
    {"cooperative_groups", "cooperative groups are not supported by the cpu backend"},
    {"wmma", "tensor core operations (wmma) are not supported by the cpu backend"},
    {"nvcuda", "tensor core operations (nvcuda::wmma) are not supported by the cpu backend"},
    {"cudaTextureObject_t", "textures are not supported by the cpu backend"},
    {"cudaSurfaceObject_t", "surfaces are not supported by the cpu backend"},
    {"tex1D*", "textures are not supported by the cpu backend"},
    {"tex2D*", "textures are not supported by the cpu backend"},
    {"tex3D*", "textures are not supported by the cpu backend"},
    {"texCubemap*", "textures are not supported by the cpu backend"},
    {"surf1D*", "surfaces are not supported by the cpu backend"},
    {"surf2D*", "surfaces are not supported by the cpu backend"},
    {"surf3D*", "surfaces are not supported by the cpu backend"},
    {"cudaLaunch*", "a launch from a kernel (dynamic parallelism) is not supported by the cpu "
                    "backend"},
    {NULL, NULL},
};

static bool matches(const gb_token *token, const char *word)
{
    size_t size = strlen(word);
    if (word[size - 1] == '*')
        return token->size >= size - 1 && memcmp(token->text, word, size - 1) == 0;
    return gbi_token_is(token, word);
}

/* Textures are a template of the old style: texture<float, 2> t. */
static bool texture_reference(const gb_token *token)
{
    return (gbi_token_is(token, "texture") || gbi_token_is(token, "surface")) &&
           gbi_token_is(token + 1, "<");
}

static int refuse(const gb_source *source, const gb_token *token, const char *text)
{
    const char *begin = token->text, *end = token->text;
    while (begin > source->text && begin[-1] != '\n') begin--;
    while (end < source->text + source->bytes && *end != '\n') end++;
    return gb_err_set(GB_ECOMPILE, "%s:%u: error: '%.*s': %s\n%.*s\n",
                      source->files.at[token->file], token->line, (int)token->size, token->text,
                      text, (int)(end - begin), begin);
}

/* What is generated stands behind the source: there the compiler would miss the brace. */
static int check_braces(const gb_source *source)
{
    uint32_t closing = 0;
    for (uint32_t i = source->tokens.count; i-- > 0;) {
        const gb_token *token = &source->tokens.at[i];
        if (gbi_token_is(token, "}")) closing++;
        if (!gbi_token_is(token, "{")) continue;
        if (closing == 0) return refuse(source, token, "no '}' closes it");
        closing--;
    }
    return 0;
}

int gbi_source_check(gb_source *source)
{
    for (uint32_t i = 0; i < source->tokens.count; i++) {
        const gb_token *token = &source->tokens.at[i];
        if (token->kind != GB_TOKEN_NAME && token->kind != GB_TOKEN_PUNCT) continue;
        if (token->kind == GB_TOKEN_PUNCT && token->size != 3) continue;
        if (texture_reference(token))
            return refuse(source, token,
                          "textures and surfaces are not supported by the cpu backend");
        for (const refusal *row = refusals; row->word; row++)
            if (matches(token, row->word)) return refuse(source, token, row->text);
    }
    return check_braces(source);
}
