# shellcheck shell=bash
# Checks of scripts by scripts: counted, told one a line.

passed=0
failed=0

# check NAME COMMAND…
check() {
    local name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        say "ok      $name"
    else
        failed=$((failed + 1))
        say "FAILED  $name"
    fi
}

fails() { ! "$@"; }

# Whether all that a script started (in its folder of logs) has ended, and its temporary folder is gone.
nothing_left() {
    local id name left=0
    while read -r id name; do
        if kill -0 "$id" 2>/dev/null; then
            say "still running: $name ($id)"
            left=1
        fi
    done <"$1/processes"
    [[ ! -e $(<"$1/folder") ]] || left=1
    return "$left"
}

# The last line of such a script, by which ./scripts/test counts, and its exit code.
tell_checks() {
    printf '%d passed, %d failed\n' "$passed" "$failed"
    ((failed == 0))
}
