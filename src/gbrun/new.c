/* gbrun new DIR: a starter app, from the files of examples/starter, which the build has put into
 * the library. */
#include "gbrun/gbrun.h"

int gbrun_new(gbrun_options *options)
{
    (void)options;
    return gbrun_not_yet("new");
}
