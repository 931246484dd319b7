# shellcheck shell=bash
# Messages, what is undone at the end, and waiting for conditions. Sourced by every script.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly root

# Messages go to stderr: stdout belongs to results.
say() { printf '%s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if ((EUID == 0)); then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        fail "this needs root and there is no sudo: $*"
    fi
}

undo_list=()

# Runs a command when the script ends, however it ends; the last one noted runs first.
on_exit() { undo_list+=("$(printf '%q ' "$@")"); }

undo_all() {
    local status=$? step
    trap - EXIT
    trap '' INT TERM # a second Ctrl-C must not stop the clearing up half-way
    for ((step = ${#undo_list[@]} - 1; step >= 0; step--)); do
        eval "${undo_list[step]}" || warn "could not do at the end: ${undo_list[step]}"
    done
    exit "$status"
}

# Undoes everything at the end; somebody stopping the script ends it with this code (130: interrupted).
end_cleanly() {
    local interrupted=$1
    trap undo_all EXIT
    # The code is fixed now, on purpose.
    # shellcheck disable=SC2064
    trap "exit $interrupted" INT TERM HUP
}

# Waits until a command succeeds, at most so long: await SECONDS COMMAND…
await() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

# A path the script names, as the user would type it.
shown() { printf '%s' "${1#"$root"/}"; }
