#!/bin/sh
# A Ray cluster on one machine: a head node and one more. It wants a token; its dashboard is on loopback only.
#
#   clusters/local/cluster.sh up        start it; print its address and how to submit
#   clusters/local/cluster.sh status    print whether it is up (exit code 1: it is not)
#   clusters/local/cluster.sh down      stop it and forget its token; results stay where their root is
#
# Environment: CLUSTER_FOLDER (token, logs), CLUSTER_PORT (and the one after it), CLUSTER_DASHBOARD_PORT, CLUSTER_CPUS.
set -eu

folder=${CLUSTER_FOLDER:-$HOME/.cache/harness-cluster}
port=${CLUSTER_PORT:-6479} # not Ray's own 6379 and 8265: another cluster may run here
dashboard=${CLUSTER_DASHBOARD_PORT:-8465}
cpus=${CLUSTER_CPUS:-$(getconf _NPROCESSORS_ONLN)}
address=http://127.0.0.1:$dashboard
environment=$(dirname "$0")/../../.venv/bin
patience=$(dirname "$0")/../../harness/schedule/patience.py
case $folder in /*) ;; *) folder=$PWD/$folder ;; esac

export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$folder/token"
unset RAY_AUTH_TOKEN RAY_ADDRESS # they would win over what is said here
if [ -x "$environment/ray" ]; then
    PATH=$(cd "$environment" && pwd):$PATH # a job runs the first `python` on it
fi

# alive NODE: its process lives, and is not another one that got its number.
alive() {
    [ -f "$folder/$1.pid" ] && ps -p "$(cat "$folder/$1.pid")" -o args= | grep -qF "$(cat "$folder/scratch")"
}

# start_node NAME OPTION...: start a node in a session of its own, and wait until it runs.
start_node() {
    name=$1
    shift
    # Two nodes in one folder would unpack a job's files over each other while it runs.
    # `ray start`, but Ray's own processes may take their time to start, and no module beside the file is imported.
    setsid python -P "$patience" start --block --disable-usage-stats --temp-dir "$(cat "$folder/scratch")/$name" \
        --dashboard-agent-listen-port 0 "$@" </dev/null >"$folder/$name.log" 2>&1 &
    echo $! >"$folder/$name.pid"
    for _ in $(seq 600); do
        sleep 1
        if grep -q 'Ray runtime started' "$folder/$name.log"; then return; fi
        if ! alive "$name"; then break; fi
    done
    echo "the $name of the cluster did not start:" >&2
    tail -n 5 "$folder/$name.log" >&2
    down
    exit 1
}

# Ray takes seconds to let go of its workers; what does not end by itself is ended, with all that it started.
stop_node() {
    if ! alive "$1"; then return; fi
    leader=$(cat "$folder/$1.pid")
    kill "$leader" || return 0
    for _ in $(seq 40); do
        sleep 1
        if ! alive "$1"; then return; fi
    done
    kill -KILL -- "-$leader"
}

up() {
    if alive head && alive node; then
        status
        return
    fi
    down
    (
        umask 077
        mkdir -p "$folder"
        od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$folder/token"
        mktemp -d /tmp/ray-XXXXXX >"$folder/scratch" # short: names of sockets have at most 107 characters
    )
    trap 'down; exit 130' INT TERM
    start_node head --head --port "$port" --ray-client-server-port $((port + 1)) \
        --dashboard-host 127.0.0.1 --dashboard-port "$dashboard" --num-cpus $(((cpus + 1) / 2))
    # The GPUs belong to the head node: each node would offer all that the machine has.
    start_node node --address "127.0.0.1:$port" --num-cpus $((cpus > 1 ? cpus / 2 : 1)) --num-gpus 0
    trap - INT TERM
    status
}

status() {
    if ! alive head || ! alive node; then
        echo "down"
        return 1
    fi
    cat <<END
up: 2 nodes, dashboard $address
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH='$folder/token'
harness submit digits --address $address --root '$PWD/runs'
END
}

down() {
    stop_node node
    stop_node head
    if [ -f "$folder/scratch" ]; then
        rm -rf "$(cat "$folder/scratch")" "$folder/token" "$folder/scratch" "$folder"/*.pid "$folder"/*.log
    fi
}

case ${1:-} in
up | status) "$1" ;;
down)
    down
    echo "down"
    ;;
*)
    echo "usage: $0 up | status | down" >&2
    exit 2
    ;;
esac
