/* dlcache doctor: will it work here? */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "replayer/attach/doctor.h"

static const char usage[] =
    "usage: dlcache doctor [--dir A:B:C] [M]\n"
    "Check this machine: the parts of the installation, the dynamic loader, the places for stages. With a manifest M, name\n"
    "what in it nobody sees change (statically linked programs, directories that the pilot wrote in), and what is gone.\n"
    "\n"
    "  --dir A:B:C  the places (default: /dev/shm)\n"
    "  -h, --help   show this\n"
    "\n"
    "Exit status: 0 all is well, 1 something is wrong, 2 wrong usage or a manifest that cannot be read.\n";

int verb_doctor(int argc, char **argv)
{
    const char *places = "/dev/shm";
    const struct cli_option options[] = {{"dir", 0, CLI_TEXT, &places}, {NULL, 0, CLI_NOTHING, NULL}};
    struct manifest *m = NULL;
    int status;
    const int first = cli_options(argc, argv, options, usage, &status);

    if (first < 0)
        return status;
    if (first + 1 < argc)
        return cli_wrong(argv[0], "it takes one manifest at most");
    if (first < argc && !(m = cli_manifest(argv[first])))
        return 2;
    const unsigned wrong = doctor_machine(places, stdout);
    if (m)
        doctor_manifest(m, stdout);
    manifest_free(m);
    return wrong ? 1 : 0;
}
