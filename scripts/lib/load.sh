# shellcheck shell=bash
# The suites of ./scripts/load: the room and the stock that each needs, and the check of the books.

# What a suite needs, full and --small: room USERS_PER_MINUTE ACTIVE TICKETS; with RATE SECONDS SMALL_RATE SMALL_SECONDS
suite_smoke() { room 60000 5000 1000000 && with 1 20 1 6; }
suite_flood() { room 60 20 1000 && with 1500 30 150 8; }
suite_steady() { room 60000 20000 1000000 && with 150 40 15 10; }
# shellcheck disable=SC2154 # scripts/load sets it
suite_purchase() { room 600000 20000 "$("$small" && echo 150 || echo 5000)" && with 1 30 1 8; }
suite_sockets() { room 120 100000 1000000 && with 100 60 15 15; }

# Who is let in and what there is to sell. The defaults of the demo stand for everything else.
room() {
    export VESTIBULE__ROOM__E1__NEW_USERS_PER_MINUTE=$1 VESTIBULE__ROOM__E1__TOTAL_ACTIVE_USERS=$2
    # k6 has no page that presents itself: nobody is to be called absent while it sleeps.
    export VESTIBULE__ROOM__E1__CLAIM_WINDOW=30s
    tickets=$3
}

with() {
    if "$small"; then
        rate=${rate:-$3} seconds=${seconds:-$4}
    else
        rate=${rate:-$1} seconds=${seconds:-$2}
    fi
}

# shellcheck disable=SC2154 # scripts/load, stack.sh and processes.sh set them
start_stack() {
    local index site_ports=(0) operator_ports=(0) shop_port=0 sites
    start_postgres quick
    make_secrets
    hold_ports
    pick_port "site_ports[0]" 8080
    pick_port "operator_ports[0]" 8081
    pick_port shop_port 8090
    if "$redis"; then
        pick_port "site_ports[1]" 8082
        pick_port "operator_ports[1]" 8083
        start_redis
    fi
    start_box_office "$shop_port" "$tickets" "${site_ports[0]}"
    for index in "${!site_ports[@]}"; do
        start_edge "edge-$((index + 1))" "${site_ports[index]}" "${operator_ports[index]}" "$shop_port"
    done
    release_ports
    printf -v sites 'http://127.0.0.1:%s,' "${site_ports[@]}"
    SITES=${sites%,}
    export SITES
}

# shellcheck disable=SC2154 # scripts/load, processes.sh and packages.sh set them
run_k6() {
    local slack=1
    k6_code=0
    "$small" && slack=5
    export RATE=$rate SUMMARY=$process_logs/summary.json
    say "k6: $suite, $seconds s${SITES:+ against $SITES}"
    start_attached k6 env RATE="$rate" SECONDS="$seconds" SLACK="$slack" "$k6" run --quiet --no-usage-report \
        --out "csv=$process_logs/samples.csv" "$root/k6/$suite.js"
    on_exit stop k6 INT
    await_end_of k6 || k6_code=$?
    "$root/scripts/lib/load-picture" "$suite" "$process_logs/samples.csv" "$process_logs/$suite.svg"
    rm -f "$process_logs/samples.csv"
    say "summary $(shown "$SUMMARY"), picture $(shown "$process_logs/$suite.svg")"
}

# What the shop's books say, beside what the clients were told.
# shellcheck disable=SC2154 # run_k6, stack.sh and processes.sh set them
after_check() {
    local books sold paid over told waiting wrong=0
    books=$("$(postgres_bin)/psql" "$database" --no-psqlrc --tuples-only --no-align --field-separator=' ' --command "
        SELECT e.sold_qty, coalesce(sum(o.qty) FILTER (WHERE o.status = 'PAID'), 0),
               greatest(0, e.sold_qty + e.held_qty - e.total_qty)
        FROM events e LEFT JOIN orders o ON o.event_id = e.id WHERE e.id = 'e1' GROUP BY e.id")
    read -r sold paid over <<<"$books"
    told=$(jq '.metrics.tickets_paid.values.count // 0' "$SUMMARY")
    printf 'books: %s sold, %s in paid orders, %s told to clients, %s oversold\n' "$sold" "$paid" "$told" "$over"
    ((over == 0 && sold == paid)) || wrong=1
    # A payment whose answer was lost is sold, and not told.
    ((told <= sold)) || wrong=1
    if [[ $suite == flood ]]; then
        waiting=$(curl --fail --silent --max-time 5 "${SITES%%,*}/_queue/rooms/e1" | jq .waiting)
        printf 'line: %s stand in it; a first contact that never comes back takes no place\n' "$waiting"
        ((waiting == 0)) || wrong=1
    fi
    ((wrong == 0)) || warn "the books or the line are wrong"
    ((k6_code == 0)) || warn "k6: a threshold is not met (exit code $k6_code)"
    ((wrong == 0 && k6_code == 0))
}
