# shellcheck shell=bash
# The groups of ./scripts/test: what each runs, how long it may take, and how its results are counted.

# shellcheck disable=SC2034 # scripts/test reads it
all_groups=(lint deploy core store edge backend crowd demo e2e load monitoring)
# Only when asked for: what breaks a whole fleet wants a machine for itself; of two releases one has to be built first.
# shellcheck disable=SC2034 # scripts/test reads it
more_groups=(faults skew)

# On two cores, from a clean clone. Together under the half hour that continuous integration allows.
declare -A budget_minutes=([build]=8 [lint]=6 [deploy]=2 [core]=4 [store]=3 [edge]=4 [backend]=5 [crowd]=3 [demo]=4 [e2e]=5 [load]=3 [monitoring]=2 [faults]=12 [skew]=25)

# shellcheck disable=SC2154 # common.sh sets it
logs=$root/target/test
passed=0
failed=0
report_lines=()

run_group() {
    local group=$1 log=$logs/$1.log started=$EPOCHREALTIME status good bad
    say "━━ $group (up to ${budget_minutes[$group]} min)"
    # A shell of its own that stops at the first error, which the report outlives.
    set +e
    (
        set -e
        "group_$group" "${@:2}"
    ) 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    set -e
    read -r good bad < <(tally "$log")
    # A group that fails without a failed test (a crash, a build error) still counts as a failure.
    ((status == 0 || bad > 0)) || bad=1
    passed=$((passed + good))
    failed=$((failed + bad))
    report_lines+=("$(report_line "$group" "$started" "$good" "$bad")")
}

# Adds up the summaries of Rust's test harness and of our own scripts.
tally() {
    sed -nE 's/^test result: [a-zA-Z]+\. ([0-9]+ passed); ([0-9]+ failed);.*/\1 \2/p;
             s/^([0-9]+ passed), ([0-9]+ failed)$/\1 \2/p' "$1" |
        awk '{ good += $1; bad += $3 } END { print good + 0, bad + 0 }'
}

report_line() {
    awk -v group="$1" -v from="$2" -v to="$EPOCHREALTIME" -v good="$3" -v bad="$4" \
        -v budget="${budget_minutes[$1]}" 'BEGIN {
            minutes = (to - from) / 60
            note = minutes > budget ? "  over budget" : ""
            printf "%-9s %6.1f min of %2d  %5d passed %3d failed%s\n", group, minutes, budget, good, bad, note
        }'
}

report() {
    printf '\n'
    printf '%s\n' "${report_lines[@]}"
    printf 'total     %6s min\n' "$(awk -v s="$SECONDS" 'BEGIN { printf "%.1f", s / 60 }')"
    printf '%d passed, %d failed\n' "$passed" "$failed"
    ((failed == 0))
}

# Everything compiled once, with the features of the whole workspace; the groups run what came out.
group_build() {
    need_build_tools
    need_commands jq:jq curl:curl
    local group
    for group in "$@"; do
        case $group in
        store) need_redis ;;
        edge | demo) need_redis && need_postgres ;;
        backend) need_postgres ;;
        load) need_postgres && need_k6 ;;
        monitoring) need_monitoring ;;
        e2e) need_postgres && need_browser && need_node ;;
        faults | skew) need_redis && need_postgres && need_commands faketime:faketime ;;
        esac
    done
    cargo build --workspace --all-targets --locked --message-format=json-render-diagnostics >"$logs/artifacts.json"
}

group_lint() { scripts/lint; }
group_deploy() { scripts/lib/deploy-test; }
group_core() {
    run_tests_of room
    run_tests_of traces
}
group_store() { run_tests_of store; }
# Its tests mostly wait for clocks.
group_edge() { RUST_TEST_THREADS=8 run_tests_of vestibule; }
group_backend() { run_tests_of box-office; }
group_crowd() {
    run_tests_of crowd
    run_tests_of faults
    run_tests_of edge-bench
}
group_demo() { scripts/lib/demo-test; }
group_e2e() { proxy/e2e/run; }
group_load() { scripts/lib/load-test; }
group_monitoring() { scripts/lib/monitoring-test; }

# Asked for by itself: every trial with thousands, which wants a machine for itself. Among others: the short ones, with
# a few hundred.
group_faults() {
    # shellcheck disable=SC2154 # scripts/test sets it
    if ((${#wanted[@]} == 1)); then
        target/debug/faults --write docs/PROMISES.md
    else
        target/debug/faults losses failover cluster edges clocks --waiting 200 --inside 40 --store-timeout 1000
    fi
}
# shellcheck disable=SC2154 # scripts/test sets it
group_skew() { scripts/lib/skew "$release"; }

# Runs the compiled tests of one crate, each where cargo would run it; goes on after a failure.
run_tests_of() {
    local crate=$1 manifest executable status=0
    while IFS=$'\t' read -r manifest executable; do
        say "· $(shown "$executable")"
        (
            cd "$(dirname "$manifest")"
            export CARGO_MANIFEST_DIR=$PWD
            timeout --kill-after=10 600 "$executable"
        ) || status=1
    done < <(test_programs_of "$crate")
    return "$status"
}

test_programs_of() {
    jq --raw-output --arg crate "$1" 'select(.reason == "compiler-artifact" and .profile.test and .executable != null
        and (.target.kind | index("bench") | not)
        and ((.package_id | test("/" + $crate + "#")) or (.package_id | test("#" + $crate + "@"))))
        | [.manifest_path, .executable] | @tsv' "$logs/artifacts.json"
}
