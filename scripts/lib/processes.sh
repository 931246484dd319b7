# shellcheck shell=bash
# Programs in the background: each started with a log of its own, watched, and stopped by its process id.

declare -A process_ids=()

# The folder for logs, and for the list of what was started.
process_logs=

# Takes and empties a folder for logs; a run beside this one takes the next: target/demo, target/demo-2 …
take_logs() {
    local number=1
    # shellcheck disable=SC2154 # common.sh sets it
    process_logs=$root/target/$1
    mkdir -p "$root/target"
    until exec 8>"$process_logs.lock" && flock --nonblock 8; do
        number=$((number + 1))
        process_logs=$root/target/$1-$number
    done
    rm -rf "$process_logs"
    mkdir "$process_logs"
}

# Starts a program that does not outlive this script, not even by kill -9, and does not hear the terminal's Ctrl-C:
# start NAME COMMAND… Its output goes to NAME.log.
start() {
    local name=$1
    shift
    start_attached "$name" "$@" >"$process_logs/$name.log" 2>&1
}

# The same, with the output where the script's own goes.
start_attached() {
    local name=$1
    shift
    # Locks end with the script, not with what it started.
    setsid setpriv --pdeathsig TERM -- "$@" </dev/null 8>&- 9>&- &
    process_ids[$name]=$!
    printf '%s %s\n' "$!" "$name" >>"$process_logs/processes"
    on_exit stop "$name"
}

# Stops one program and waits until it is gone: stop NAME [SIGNAL]
stop() {
    local name=$1 id=${process_ids[$1]:-}
    [[ -n $id ]] || return 0
    unset "process_ids[$name]"
    kill -s "${2:-TERM}" "$id" 2>/dev/null || true
    if ! await 20 ended "$id"; then
        warn "$name did not stop within 20 s; killed"
        kill -s KILL "$id" 2>/dev/null || true
    fi
    wait "$id" 2>/dev/null || true
}

running() { kill -0 "${process_ids[$1]}" 2>/dev/null; }
ended() { ! kill -0 "$1" 2>/dev/null; }

# Waits until a program is ready: await_ready NAME SECONDS COMMAND…; shows its log when it is not.
await_ready() {
    local name=$1 deadline=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        running "$name" || fail_with_logs "$name ended at its start"
        ((SECONDS < deadline)) || fail_with_logs "$name was not ready in time (by: $*)"
        sleep 0.1
    done
}

# Waits for one program to end and gives its code; any other one that ends first is a failure.
await_end_of() {
    local name=$1 code=0 first
    wait -n -p first "${process_ids[@]}" || code=$?
    if [[ $first != "${process_ids[$name]}" ]]; then
        fail_with_logs "a server ended during the run"
    fi
    return "$code"
}

fail_with_logs() {
    local log
    for log in "$process_logs"/*.log; do
        [[ -s $log ]] || continue
        say "── the end of $(shown "$log")"
        tail -n 15 "$log" >&2
    done
    fail "$@"
}

# Ports are picked and taken by one script at a time: between the two somebody else would find them free.
hold_ports() { exec 9>"$root/target/ports.lock" && flock 9; }
release_ports() { exec 9>&-; }

# Sets a variable to a free port, the wanted one if possible: pick_port VARIABLE WANTED
picked_ports=" "
pick_port() {
    local -n port_found=$1
    port_found=$2
    while [[ $picked_ports == *" $port_found "* ]] || port_taken "$port_found"; do
        port_found=$((port_found + 1))
        ((port_found < $2 + 200)) || fail "no free port from $2 on"
    done
    picked_ports+="$port_found "
    ((port_found == $2)) || say "port $2 is taken: using $port_found"
}

port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
