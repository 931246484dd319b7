# shellcheck shell=bash
# What each name of ./scripts/bench does.

bench_sale() {
    need_build_tools
    need_postgres
    need_commands jq:jq
    if [[ -n $attempts ]]; then
        sale_attempts
    else
        sale_contest
    fi
}

# shellcheck disable=SC2154 # common.sh, processes.sh and scripts/bench set them
sale_contest() {
    build_release box-office sale-bench
    make_state
    start_postgres durable
    "$root/target/release/sale-bench" --db-url "$database" --box-office "$root/target/release/box-office" \
        --json "$process_logs/sale.json" ${length:+"$length"} 2> >(tee "$process_logs/sale-bench.log" >&2)
    say "rows: $(shown "$process_logs/sale.json")"
}

# The contention test of ./scripts/test, longer and faster: it fails when a ticket is sold twice or not at all.
sale_attempts() {
    local program
    say "Building the test with optimization …"
    program=$(cargo test --release --locked --package box-office --test it --no-run --message-format=json-render-diagnostics |
        jq --raw-output 'select(.reason == "compiler-artifact" and .target.name == "it").executable')
    CARGO_MANIFEST_DIR=$root/backend CONTENTION_ATTEMPTS=$attempts "$program" --nocapture contention::
}

build_release() {
    local package packages=()
    for package in "$@"; do packages+=(--package "$package"); done
    say "Building with optimization …"
    cargo build --release --locked "${packages[@]}"
}
