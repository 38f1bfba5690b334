# Includes point downwards only, and what runs inside the user's process includes nothing that allocates, prints or parses.
set -eu
bad=0
# forbid FILES... -- PATTERN: no include of these files matches.
forbid() {
    files=
    while [ "$1" != -- ]; do files="$files $1"; shift; done
    # shellcheck disable=SC2086
    if grep -nE "^#include [\"<]($2)" $files; then bad=1; fi
}
inside="$(find libdlcache -name '*.[ch]') recorder/note.c recorder/note.h recorder/spool.h"
# shellcheck disable=SC2086
forbid $inside -- 'jansson|uthash|xxhash|mpi|pthread|syslog|facts/|manifests/|replayer/|cli/|recorder/[^ns]'
# shellcheck disable=SC2046
forbid $(find libdlcache -name '*.[ch]' ! -path '*/shim/*') -- 'stdio|stdlib|string|unistd|dlfcn'
# shellcheck disable=SC2046
forbid $(find facts -name '*.[ch]') -- 'manifests/|recorder/|replayer/|cli/'
# shellcheck disable=SC2046
forbid $(find manifests -name '*.[ch]') -- 'recorder/|replayer/|cli/'
# shellcheck disable=SC2046
forbid $(find recorder -name '*.[ch]') -- 'replayer/|cli/|mpi'
# shellcheck disable=SC2046
forbid $(find replayer -name '*.[ch]') -- 'cli/|recorder/[^s]'
# Only the stager's carrier knows MPI, and what stages inside the program.
# shellcheck disable=SC2046
forbid $(find . -name '*.[ch]' ! -path './replayer/stage/mpi.[ch]' ! -path './replayer/onestep/*' \
    ! -path './bench/*' ! -path './build*') -- '(replayer/stage/)?mpi\.h'
exit $bad
