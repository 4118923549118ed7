#include "gpu/cpu_options.h"

#include "base/err.h"
#include "gpu/image_cache.h"

#include <ctype.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static bool macro_name(const char *at)
{
    if (!isalpha((unsigned char)*at) && *at != '_') return false;
    while (isalnum((unsigned char)*at) || *at == '_') at++;
    return *at == 0 || *at == '=';
}

static bool on_the_list(const char *option)
{
    static const char *const whole[] = {"-std=c++11",      "-std=c++14",  "-std=c++17",
                                        "-std=c++20",      "--std=c++11", "--std=c++14",
                                        "--std=c++17",     "--std=c++20", "-use_fast_math",
                                        "--use_fast_math", NULL};
    for (int i = 0; whole[i]; i++)
        if (strcmp(option, whole[i]) == 0) return true;
    if (strchr(option, '\n')) return false;
    if (strncmp(option, "-D", 2) == 0) return macro_name(option + 2);
    if (strncmp(option, "-U", 2) == 0) return macro_name(option + 2) && !strchr(option, '=');
    const char *number = strncmp(option, "-maxrregcount=", 14) == 0    ? option + 14
                         : strncmp(option, "--maxrregcount=", 15) == 0 ? option + 15
                                                                       : "";
    return *number && strspn(number, "0123456789") == strlen(number);
}

int gbi_options_check(const gb_module_spec *spec)
{
    for (int i = 0; spec->options && spec->options[i]; i++)
        if (!on_the_list(spec->options[i]))
            return gb_err_set(GB_EINVAL,
                              "option '%s' is not allowed; the list: -DX, -DX=V, -UX, "
                              "-std=c++11|14|17|20, -use_fast_math, -maxrregcount=N",
                              spec->options[i]);
    return 0;
}

const char *gbi_options_standard(const gb_module_spec *spec)
{
    const char *standard = "-std=c++17";
    for (int i = 0; spec->options && spec->options[i]; i++) {
        const char *option = spec->options[i];
        if (strncmp(option, "-std=", 5) == 0) standard = option;
        if (strncmp(option, "--std=", 6) == 0) standard = option + 1;
    }
    return standard;
}

bool gbi_options_fast_math(const gb_module_spec *spec)
{
    for (int i = 0; spec->options && spec->options[i]; i++)
        if (strstr(spec->options[i], "-use_fast_math") && spec->options[i][1] != 'D') return true;
    return false;
}

int gbi_machine(gb_buf *key)
{
#if defined(__x86_64__)
    static const unsigned leaves[][2] = {{0, 0}, {1, 0}, {7, 0}, {7, 1}, {0x80000001u, 0}};
    int rc = 0;
    for (size_t i = 0; i < sizeof leaves / sizeof *leaves && rc == 0; i++) {
        unsigned r[4] = {0, 0, 0, 0};
        __get_cpuid_count(leaves[i][0], leaves[i][1], &r[0], &r[1], &r[2], &r[3]);
        if (leaves[i][0] == 1) r[1] = 0; /* this core's number */
        rc = gb_buf_printf(key, "cpu %x %x %x %x\n", r[0], r[1], r[2], r[3]);
    }
    return rc;
#else
    gb_buf text;
    gb_buf_init(&text, key->mem);
    int rc = gb_image_file_read("/proc/cpuinfo", &text);
    const char *first = gb_buf_text(&text), *end = strstr(first, "\n\n");
    rc = rc < 0 ? 0 : gb_buf_put(key, first, end ? (size_t)(end - first) : strlen(first));
    gb_buf_fini(&text);
    return rc;
#endif
}

const char *gbi_cpu_level_name(int level)
{
    static const char *const names[GBI_CPU_LEVELS] = {"other", "x86-64", "x86-64-v2", "x86-64-v3",
                                                      "x86-64-v4"};
    return level >= 0 && level < GBI_CPU_LEVELS ? names[level] : names[0];
}

/* The compiler's own tests, which ask whether the system saves the registers too, and what older
 * compilers cannot ask for. */
int gbi_cpu_level(void)
{
#if defined(__x86_64__)
    unsigned a, b, c1 = 0, c80 = 0, d;
    __builtin_cpu_init();
    __get_cpuid(1, &a, &b, &c1, &d);
    __get_cpuid(0x80000001u, &a, &b, &c80, &d);
    bool v2 = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("ssse3") &&
              __builtin_cpu_supports("popcnt") && (c1 & bit_CMPXCHG16B) && (c80 & bit_LAHF_LM);
    bool v3 = v2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
              __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && (c1 & bit_MOVBE) &&
              (c1 & bit_F16C) && (c80 & bit_ABM);
    bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vl");
    return v4 ? 4 : v3 ? 3 : v2 ? 2 : 1;
#else
    return 0;
#endif
}
