# Everything compiles without a warning with the other compiler, too, and at the optimization that debuggers like.
set -eu
other=clang
case $(${CC:-cc} --version | head -n 1) in *clang*) other=gcc ;; esac
command -v $other >/dev/null || { echo "$other is missing"; exit 1; }
make --no-print-directory SAN= BUILD="$1/other" CC=$other MPICC="${MPICC:-mpicc.mpich} -cc=$other" all check-progs "$1/other/check-units"
make --no-print-directory SAN= BUILD="$1/debug" CFLAGS='-Og -g' all
