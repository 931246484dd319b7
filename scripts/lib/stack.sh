# shellcheck shell=bash
# The whole system on this machine, in a temporary folder: PostgreSQL, Redis if wanted, the box office, edges.

# shellcheck disable=SC2154 # common.sh sets it
programs=$root/target/debug

# Makes the temporary folder for data and sockets; everything in it goes when the script ends.
make_state() {
    # PostgreSQL's user must be able to pass through, and socket paths are short by nature: not in the project.
    state=$(mktemp -d /tmp/vestibule.XXXXXX)
    on_exit rm -rf "$state"
    chmod 711 "$state"
    printf '%s\n' "$state" >"$process_logs/folder"
}

# PostgreSQL on a socket only; it refuses to run as root. Durability is off, as the data lives as long as the script:
# start_postgres quick|durable
start_postgres() {
    local bin folder=$state/postgres as=() settings=(-c fsync=off -c full_page_writes=off -c synchronous_commit=off)
    [[ $1 != durable ]] || settings=(-c fsync=on -c synchronous_commit=on -c shared_buffers=256MB -c max_wal_size=4GB)
    bin=$(postgres_bin)
    if ((EUID == 0)); then
        as=(setpriv --reuid=postgres --regid=postgres --init-groups --)
        install -d -m 700 -o postgres -g postgres "$folder"
    else
        install -d -m 700 "$folder"
    fi
    if ! (cd "$folder" && "${as[@]}" "$bin/initdb" --auth=trust --username=box_office --encoding=UTF8 --locale=C.UTF-8 \
        --no-sync --no-instructions --pgdata=data) >"$process_logs/initdb.log" 2>&1; then
        fail_with_logs "PostgreSQL could not make its folder"
    fi
    # A change of user forgets the signal that `start` asked for: asked for again behind it.
    start postgres "${as[@]}" setpriv --pdeathsig INT -- "$bin/postgres" -D "$folder/data" -k "$folder" -c listen_addresses= \
        -c max_connections=400 "${settings[@]}"
    # Its fast shutdown is SIGINT: SIGTERM would wait for every client.
    on_exit stop postgres INT
    await_ready postgres 30 "$bin/pg_isready" --quiet --host="$folder"
    database="host=$folder user=box_office dbname=postgres"
}

start_redis() {
    local socket=$state/redis.sock
    start redis redis-server --port 0 --unixsocket "$socket" --dir "$state" --save '' --appendonly no \
        --maxmemory-policy noeviction
    await_ready redis 15 redis-cli -s "$socket" ping
    export VESTIBULE__STORE__URL=unix://$socket
}

# start_box_office PORT TICKETS EDGE_PORT
start_box_office() {
    start box-office env DB_URL="$database" EVENT_ID=e1 PASS_ROOM=e1 \
        PASS_JWKS_URL="http://127.0.0.1:$3/_queue/jwks.json" \
        "$programs/box-office" --listen "127.0.0.1:$1" --seed-name "First night" --seed-total "$2"
    await_ready box-office 30 curl --fail --silent --max-time 2 "http://127.0.0.1:$1/healthz"
}

# Keys and the operator's token, fresh for every run; edges that share a store share them.
make_secrets() {
    local kind
    cp "$root/config/demo.toml" "$state/edge.toml"
    for kind in ticket pass; do
        (umask 077 && "$programs/vestibule" keys new >"$state/$kind.key")
    done
    operator_token=$(head -c 24 /dev/urandom | base64 | tr '+/' '-_')
    VESTIBULE__OPERATOR__TOKENS__0__SHA256=$(printf '%s' "$operator_token" | sha256sum | cut -d ' ' -f 1)
    export VESTIBULE__OPERATOR__TOKENS__0__SHA256
    export VESTIBULE__OPERATOR__TOKENS__0__NAME=demo VESTIBULE__OPERATOR__TOKENS__0__ROLE=operator
}

# start_edge NAME SITE_PORT OPERATOR_PORT UPSTREAM_PORT
start_edge() {
    start "$1" env VESTIBULE__SERVER__LISTEN="127.0.0.1:$2" VESTIBULE__OPERATOR__LISTEN="127.0.0.1:$3" \
        VESTIBULE__ROOM__E1__UPSTREAM="http://127.0.0.1:$4" \
        "$programs/vestibule" run --config "$state/edge.toml"
    await_ready "$1" 30 curl --fail --silent --max-time 2 "http://127.0.0.1:$3/readyz"
}
