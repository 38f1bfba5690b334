#include "replayer/stage/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replayer/image/bundle.h"

static const char usage[] =
    "usage: dlcache stage [OPTION]... M|I\n"
    "       dlcache stage [OPTION]... --bundle TAR --at PREFIX [--strip N]\n"
    "Read what the manifest M names, or the image I that `dlcache pack` made, once, broadcast it over MPI, and lay it\n"
    "down in the memory of every node. Prints the stage's directory D, and nothing else, on standard output; then:\n"
    "D/run CMD...\n"
    "\n"
    "In a batch script of Slurm, Flux, PBS or LSF it starts itself on every node of the job: D=$(dlcache stage M). Started\n"
    "by srun, flux run or mpiexec it is a rank, and there may be any number: one on each node works, the others wait. Outside\n"
    "of a job it stages on this node.\n"
    "\n"
    "  --dir A:B:C    places to try for the stage (default /dev/shm)\n"
    "  --strict       an entry of M that is gone or cannot be read is an error, not a warning\n"
    "  --no-check     of I: do not look whether the files are still what they were when it was packed\n"
    "  --bundle TAR   an archive, plain or compressed: as if it were unpacked at the directory PREFIX, which need not be\n"
    "  --at PREFIX    there, and is hidden where it is\n"
    "  --strip N      takes the first N directories off the names in TAR\n"
    "  --keep         the stage is not the job's: it stays until `dlcache unstage`, and the next job of the same image\n"
    "                 has it at once\n"
    "  --max-bytes N  all of your stages on a node take no more than that (N, or Nk, NM, NG); kept ones give way\n"
    "  --soft         a node that cannot hold the stage does not stop the others: D/run starts programs natively there\n"
    "  --json         the summary on standard error as JSON\n"
    "  --sbcast       Slurm's sbcast carries the image I to the nodes, in the stead of MPI\n"
    "  --verbose, -v  say by which command it starts itself\n"
    "  --hosts FILE   start with mpiexec on the hosts that FILE names, one a line\n"
    "  --mpiexec CMD  the mpiexec to start with (default: $DLCACHE_MPIEXEC, or the one it was built with)\n"
    "\n"
    "The exit status is 0 where every node has its stage, 1 where one has not (then none has it), 2 for wrong usage or what\n"
    "cannot be read.\n";

/* "100", "20M", "1.5G": decimal prefixes, as the summary's. */
static bool read_size(const char *text, uint64_t *bytes)
{
    static const char prefixes[] = "kMGT";
    char *end;
    const double n = strtod(text, &end);
    double unit = 1;

    if (end == text || !(n > 0))
        return false;
    const char *prefix = *end ? strchr(prefixes, *end == 'K' ? 'k' : *end) : NULL;
    for (const char *p = prefixes; prefix && p <= prefix; p++)
        unit *= 1000;
    end += prefix != NULL;
    end += *end == 'B';
    if (*end || n * unit < 1 || n * unit > 1e18)
        return false;
    *bytes = (uint64_t)(n * unit);
    return true;
}

int options_parse(struct options *o, int argc, char **argv)
{
    static const struct option longs[] = {{"dir", required_argument, NULL, 'd'}, {"strict", no_argument, NULL, 's'},
                                          {"json", no_argument, NULL, 'j'},      {"no-check", no_argument, NULL, 'n'},
                                          {"keep", no_argument, NULL, 'k'},      {"max-bytes", required_argument, NULL, 'm'},
                                          {"soft", no_argument, NULL, 'S'},
                                          {"bundle", required_argument, NULL, 'b'}, {"at", required_argument, NULL, 'a'},
                                          {"strip", required_argument, NULL, 'p'},
                                          {"copy", no_argument, NULL, 'C'},
                                          {"help", no_argument, NULL, 'h'},      {NULL, 0, NULL, 0}};
    int c;

    *o = (struct options){.places = "/dev/shm", .check = true};
    opterr = 0;
    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        switch (c) {
        case 'd': o->places = optarg; break;
        case 's': o->strict = true; break;
        case 'j': o->json = true; break;
        case 'n': o->check = false; break;
        case 'S': o->soft = true; break;
        case 'C': o->copy = true; o->check = false; break;
        case 'k': o->keep = true; break;
        case 'b': o->source = optarg; break;
        case 'a': o->at = optarg; break;
        case 'p':
            if (!bundle_strip(optarg, &o->strip)) {
                fprintf(stderr, "dlcache: stage: --strip %s: that is no number of directories\n", optarg);
                return 2;
            }
            break;
        case 'm':
            if (!read_size(optarg, &o->max_bytes)) {
                fprintf(stderr, "dlcache: stage: --max-bytes %s: that is no number of bytes\n", optarg);
                return 2;
            }
            break;
        case 'h': fputs(usage, stdout); return fflush(stdout) ? 1 : 0;
        default:
            fprintf(stderr, "dlcache: stage: '%s' is no option, or lacks its value (see dlcache stage --help)\n",
                    argv[optind - 1]);
            return 2;
        }
    }
    if (!o->source != !o->at || (o->strip && !o->at)) {
        fputs("dlcache: stage: --bundle and --at belong together, and --strip to them (see dlcache stage --help)\n", stderr);
        return 2;
    }
    if (o->at && optind == argc)
        return -1;
    if (optind + 1 != argc || o->at) {
        fprintf(stderr, "dlcache: stage: %s (see dlcache stage --help)\n",
                optind == argc ? "no manifest or image is named"
                : o->at        ? "a manifest or image is named beside a bundle"
                               : "more than one manifest or image is named");
        return 2;
    }
    o->source = argv[optind];
    return -1;
}
