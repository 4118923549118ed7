#include "gbrun/gbrun.h"

static int run(gbrun_options *options, int argc)
{
    int code = gbrun_options_read(options, argc, options->argv_all);
    if (code) return code;
    if (gbrun_given(options, "--help"))
        return options->command ? gbrun_help(options) : gbrun_help_all();
    if (!options->command && !options->file) return gbrun_usage(stderr);
    code = gbrun_sanitize(options);
    if (code) return code;
    return options->command ? options->command->run(options) : gbrun_script(options);
}

int main(int argc, char **argv)
{
    gbrun_options options;
    gbrun_options_init(&options, argv);
    int code = run(&options, argc);
    gbrun_options_fini(&options);
    return code;
}
