/* dlcache doctor: will it work here? */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
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
    static const struct option longs[] = {
        {"dir", required_argument, NULL, 'd'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    const char *places = "/dev/shm";
    struct manifest *m = NULL;
    char *error = NULL;
    int c;

    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        switch (c) {
        case 'd': places = optarg; break;
        case 'h': fputs(usage, stdout); return 0;
        default: return cli_wrong(argv[0], "'%s' is no option, or lacks its value", argv[optind - 1]);
        }
    }
    if (optind + 1 < argc)
        return cli_wrong(argv[0], "it takes one manifest at most");
    if (optind < argc && !(m = manifest_load(argv[optind], &error))) {
        cli_error("%s", error);
        free(error);
        return 2;
    }
    const unsigned wrong = doctor_machine(places, stdout);
    if (m)
        doctor_manifest(m, stdout);
    manifest_free(m);
    return wrong ? 1 : 0;
}
