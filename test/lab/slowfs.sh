# Shared file systems of the lab, for lab: a server each (bench/slowfs), and a client of its own on every node.
# The N-th one's files are in $LAB/slowfs/N: "control" (counters, reset, fault, latency), "log", and a mount a node.

# An option of lab's: SOURCE=POINT[,OPTION[=VALUE]]...
slowfs_parse() {
    local source=${1%%=*} rest=${1#*=}
    [[ $1 == *=/* && -d $source ]] || status=2 die "--slowfs wants DIRECTORY=/POINT, not '$1'"
    [ -x "$SLOWFS" ] || die "$SLOWFS is missing: make check-progs builds it"
    case ${rest%%,*} in
    "$LAB"/*) ;;
    *) [ -d "${rest%%,*}" ] || die "${rest%%,*} is no directory" ;;
    esac
    LAB_SLOWFS+=$(realpath "$source")=$rest$'\n'
}

# Starts the servers, with a mount for each of the nodes.
slowfs_start() { # nodes
    local line point number=0 name dir option options mounts
    while IFS= read -r line; do
        [ -n "$line" ] || continue
        dir=$LAB/slowfs/$((++number)) options=() mounts=()
        IFS=, read -ra options <<<"${line#*=}"
        point=${options[0]}
        for name in login $(seq -f 'node%g' "$1"); do
            mkdir -p "$dir/$name"
            mounts+=("$name=$dir/$name")
        done
        mkdir -p "$dir/control" "$point" && echo "$point" >"$dir/point" || return
        options=("${options[@]:1}")
        "$SLOWFS" --name "lab$number" --control "$dir/control" --log "$dir/log" "${options[@]/#/--}" "${line%%=*}" \
            "${mounts[@]}" >"$dir/out" 2>"$dir/err" &
        wait_for "slowfs on $point" grep -q ready "$dir/out"
    done <<<"$LAB_SLOWFS"
}

# On a node, in its name space: this node's mounts, each where a program looks for it.
slowfs_bind() { # name
    local dir
    for dir in "$LAB"/slowfs/*/; do
        [ ! -e "$dir/point" ] || mount --bind "$dir$1" "$(cat "$dir/point")" || return
    done
}
