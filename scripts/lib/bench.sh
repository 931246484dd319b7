# shellcheck shell=bash
# What ./scripts/bench does. Results and their logs are in target/bench.

# shellcheck disable=SC2154 # common.sh sets it
results=$root/target/bench
bench_profile=${BENCH_PROFILE:-release}
built=$root/target/$bench_profile

# One bench after the other, and what remains of them is measured even if one fails.
# shellcheck disable=SC2154 # scripts/bench sets them
bench_measure() {
    local name all=no failed=()
    take_logs bench-servers
    mkdir -p "$results"
    if [[ -n $attempts ]]; then
        need_build_tools
        need_postgres
        sale_attempts
        return
    fi
    need_bench_programs
    if ((${#names[@]} == 0)); then
        all=yes
        mapfile -t names < <(bench_names)
    fi
    check_names
    start_bench_database
    for name in "${names[@]}"; do
        measure_one "$name" || failed+=("$name")
    done
    if [[ $all == yes ]]; then
        say ''
        "$built/edge-bench" summary "$results"
        render_page
    fi
    say "rows: $(shown "$results")/NAME.json"
    ((${#failed[@]} == 0)) || fail "not measured: ${failed[*]}"
}

bench_list() {
    need_bench_programs
    "$built/edge-bench" list
    printf '%-10s %s\n' sale "tickets of one event: the box office beside SELECT … FOR UPDATE on the same PostgreSQL"
}

bench_render() {
    need_bench_programs
    render_page
}

# shellcheck disable=SC2154 # scripts/bench sets names
bench_profile() {
    need_bench_programs
    need_perf
    "$built/edge-bench" profile "${names[@]}" --images "$root/docs/images" --results "$results"
}

# Builds what is measured; the yardsticks come from the system's package archive.
need_bench_programs() {
    need_build_tools
    need_redis
    need_postgres
    need_yardsticks
    build_optimized vestibule crowd box-office edge-bench sale-bench
}

build_optimized() {
    local package packages=()
    for package in "$@"; do packages+=(--package "$package"); done
    say "Building with optimization (profile $bench_profile) …"
    cargo build --profile "$bench_profile" --locked "${packages[@]}"
}

bench_names() {
    "$built/edge-bench" list | cut -d ' ' -f 1
    printf 'sale\n'
}

check_names() {
    local name known
    known=$(bench_names)
    for name in "${names[@]}"; do
        grep --quiet --line-regexp --fixed-strings -- "$name" <<<"$known" || fail "no bench is named $name; known are: ${known//$'\n'/ }"
    done
}

# `flow` and `sale` sell from a database of their own each.
start_bench_database() {
    case " ${names[*]} " in *' flow '* | *' sale '*) ;; *) return ;; esac
    make_state
    start_postgres durable
    "$(postgres_bin)/createdb" --host="$state/postgres" --username=box_office flow
    export BENCH_DATABASE="host=$state/postgres user=box_office dbname=flow"
}

# shellcheck disable=SC2154 # stack.sh and scripts/bench set them
measure_one() {
    if [[ $1 == sale ]]; then
        "$built/sale-bench" --db-url "$database" --box-office "$built/box-office" --json "$results/sale.json" \
            ${length:+"$length"}
    else
        "$built/edge-bench" run "$1" --results "$results" ${length:+"$length"}
    fi
}

render_page() {
    mkdir -p "$root/docs/images"
    "$built/edge-bench" render "$results" --page "$root/docs/PERFORMANCE.md" --images "$root/docs/images"
}

# The contention test of ./scripts/test, longer and faster: it fails when a ticket is sold twice or not at all.
sale_attempts() {
    local program
    need_commands jq:jq
    say "Building the test with optimization …"
    program=$(cargo test --profile "$bench_profile" --locked --package box-office --test it --no-run \
        --message-format=json-render-diagnostics |
        jq --raw-output 'select(.reason == "compiler-artifact" and .target.name == "it").executable')
    CARGO_MANIFEST_DIR=$root/backend CONTENTION_ATTEMPTS=$attempts "$program" --nocapture contention::
}
