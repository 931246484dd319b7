#!/usr/bin/env python3
"""The Grafana dashboards, as code: writes dashboards/*.json beside this file. `--check` only compares.

A panel is a title, a unit and queries by legend. Grafana 10 or later.
"""

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "dashboards"
WIDTH, HEIGHT = 8, 8
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
ROOM = '{room=~"$room"}'


def rate(metric, by="", where=""):
    group = f" by ({by})" if by else ""
    return f"sum{group}(rate({metric}{where}[$__rate_interval]))"


def quantile(share, metric, where="", by=""):
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{where}[$__rate_interval])))"


def quantiles(metric, where="", by="", shares=(0.5, 0.95, 0.99)):
    name = f" {{{{{by}}}}}" if by else ""
    return {f"p{share * 100:g}{name}": quantile(share, metric, where, by) for share in shares}


# Dashboard -> title and rows; row -> panels (title, unit, {legend: query}[, kind]).
DASHBOARDS = {
    "waiting-room": (
        "Waiting room",
        {
            "The line": [
                ("Waiting", "short", {"{{room}}": f"max by (room) (vestibule_waiting{ROOM})"}),
                (
                    "Inside",
                    "short",
                    {
                        "sessions {{room}}": f"max by (room) (vestibule_active{ROOM})",
                        "turns open {{room}}": f"max by (room) (vestibule_turns_open{ROOM})",
                    },
                ),
                (
                    "Let in, per minute",
                    "short",
                    {
                        "entries {{room}}": f"60 * {rate('vestibule_entries_total', 'room', ROOM)}",
                        "turns {{room}}": f"60 * {rate('vestibule_admissions_total', 'room', ROOM)}",
                        "limit {{room}} ({{kind}})": f"max by (room, kind) (vestibule_rate_users_per_minute{ROOM})",
                    },
                ),
            ],
            "The promise": [
                ("The limit used", "percentunit", {"{{room}}": f"max by (room) (vestibule_limit_utilisation_ratio{ROOM})"}),
                ("Turn given to visitor told", "s", quantiles("vestibule_turn_lag_seconds", ROOM)),
                ("Since the last tick", "s", {"{{room}}": f"max by (room) (vestibule_tick_age_seconds{ROOM})"}),
            ],
            "The visitor": [
                ("Wait until entry", "s", quantiles("vestibule_wait_seconds", ROOM, shares=(0.5, 0.9, 0.99))),
                (
                    "Real wait over the first estimate",
                    "short",
                    quantiles("vestibule_estimate_error_ratio", ROOM, shares=(0.1, 0.5, 0.9)),
                ),
                (
                    "Gone without entering, per minute",
                    "short",
                    {
                        "left the line": f"60 * {rate('vestibule_abandoned_total', where=ROOM)}",
                        "turn not taken": f"60 * {rate('vestibule_no_show_total', where=ROOM)}",
                    },
                ),
            ],
        },
    ),
    "edge": (
        "Edge",
        {
            "Requests": [
                ("Requests by verdict", "reqps", {"{{verdict}}": rate("vestibule_requests_total", "verdict", ROOM)}),
                ("Answer times by verdict, 95 %", "s", {"{{verdict}}": quantile(0.95, "vestibule_request_duration_seconds", by="verdict")}),
                ("Refused by a client's limit", "reqps", {"{{room}}": rate("vestibule_over_limit_total", "room", ROOM)}),
            ],
            "Sockets": [
                ("Sockets of those who wait", "short", {"{{instance}}": 'ws_connections{job=~".*edge.*"}'}),
                ("Messages", "cps", {"{{direction}} {{type}}": rate("ws_messages_total", "direction, type", '{job=~".*edge.*"}')}),
                ("Replaced by newer before a slow reader took them", "cps", {"{{type}}": rate("ws_dropped_total", "type", '{job=~".*edge.*"}')}),
            ],
            "Store": [
                ("Calls of the store, 99 %", "s", {"{{op}}": quantile(0.99, "vestibule_store_duration_seconds", by="op")}),
                (
                    "Calls and errors",
                    "cps",
                    {
                        "calls {{op}}": rate("vestibule_store_duration_seconds_count", "op"),
                        "errors {{op}} {{kind}}": rate("vestibule_store_errors_total", "op, kind") + " or vector(0)",
                    },
                ),
                (
                    "Away, alone, forgotten",
                    "short",
                    {
                        "edges without the store": "sum(vestibule_store_away)",
                        "edges that go on alone": "sum(vestibule_alone)",
                        "lives begun": "sum(vestibule_store_lives_total)",
                        "sessions lent": "sum(vestibule_lent_sessions_total)",
                    },
                ),
            ],
            "Fleet": [
                ("Releases", "short", {"{{version}}": "count by (version) (vestibule_build_info)"}),
                (
                    "Settings",
                    "short",
                    {"version {{instance}}": "vestibule_config_version", "refused": "sum(vestibule_config_reload_failures_total)"},
                ),
                ("Store's clock minus the edge's", "s", {"{{instance}}": "vestibule_clock_offset_seconds"}),
            ],
        },
    ),
    "sale": (
        "Sale",
        {
            "Purchases": [
                ("Purchases by result", "cps", {"{{result}}": rate("purchase_attempts_total", "result")}),
                ("Purchase, from request to answer", "s", quantiles("purchase_duration_seconds")),
                ("Wait for the event's row", "s", quantiles("pg_locks_wait_seconds")),
            ],
            "The counter": [
                ("At the counter", "short", {"{{line}}": "sum by (line) (counter_waiting)"}),
                ("Requests served by one transaction", "short", quantiles("counter_group_size", by="line", shares=(0.5, 0.95))),
                ("Holds by the state they went to", "cps", {"{{status}}": rate("reservation_status_total", "status")}),
            ],
            "Payments": [
                ("Payments by result", "cps", {"{{result}}": rate("payment_total", "result")}),
                ("Outbox", "short", {"pending": "max(outbox_pending)", "given up": "max(outbox_dead)"}),
                (
                    "Answers by route, 95 %",
                    "s",
                    {
                        "{{http_request_method}} {{http_route}}": quantile(
                            0.95, "http_server_request_duration_seconds", by="http_request_method, http_route"
                        )
                    },
                ),
            ],
        },
    ),
    "stores": (
        "Redis and PostgreSQL",
        {
            "Redis": [
                (
                    "CPU, of one core",
                    "percentunit",
                    {"{{instance}}": "rate(redis_cpu_sys_seconds_total[$__rate_interval]) + rate(redis_cpu_user_seconds_total[$__rate_interval])"},
                ),
                ("Commands", "cps", {"{{instance}}": rate("redis_commands_processed_total", "instance")}),
                (
                    "Memory",
                    "bytes",
                    {"used {{instance}}": "redis_memory_used_bytes", "limit {{instance}}": "redis_memory_max_bytes"},
                ),
                (
                    "Clients",
                    "short",
                    {"connected {{instance}}": "redis_connected_clients", "blocked {{instance}}": "redis_blocked_clients"},
                ),
                ("Up, and replicas", "short", {"up {{instance}}": "redis_up", "replicas {{instance}}": "redis_connected_slaves"}),
                (
                    "Evicted and refused (must stay 0)",
                    "cps",
                    {
                        "evicted {{instance}}": "rate(redis_evicted_keys_total[$__rate_interval])",
                        "refused {{instance}}": "rate(redis_rejected_connections_total[$__rate_interval])",
                    },
                ),
            ],
            "PostgreSQL": [
                ("Transactions", "cps", {"{{datname}}": rate("pg_stat_database_xact_commit", "datname", '{datname!~"template.*"}')}),
                (
                    "Rolled back, deadlocks",
                    "cps",
                    {
                        "rolled back": rate("pg_stat_database_xact_rollback", where='{datname!~"template.*"}'),
                        "deadlocks": rate("pg_stat_database_deadlocks", where='{datname!~"template.*"}'),
                    },
                ),
                ("Connections", "short", {"{{state}}": "sum by (state) (pg_stat_activity_count)"}),
                ("Locks", "short", {"{{mode}}": "sum by (mode) (pg_locks_count)"}),
                ("Longest transaction", "s", {"{{datname}}": "max by (datname) (pg_stat_activity_max_tx_duration)"}),
                ("Up", "short", {"{{instance}}": "pg_up"}),
            ],
        },
    ),
    "service-levels": (
        "Service levels",
        {
            "Admitted visitors": [
                ("Failures (goal: under 0.5 %)", "percentunit", {"5 min": "vestibule:failures:ratio_rate5m", "1 h": "vestibule:failures:ratio_rate1h"}),
                ("Budget of 0.1 % burnt, times", "short", {"5 min": "vestibule:failures:ratio_rate5m / 0.001", "1 h": "vestibule:failures:ratio_rate1h / 0.001"}),
                ("Admitted request, 95 % (goal: 120 ms)", "s", {"p95": "vestibule:forwarded:p95_seconds"}),
            ],
            "Those who wait": [
                ("Turn told, 99 % (goal: 250 ms)", "s", {"{{room}}": "vestibule:turn_lag:p99_seconds"}),
                ("Places out of date before they were sent", "percentunit", {"dropped": "vestibule:ws_dropped:ratio_rate5m"}),
                ("Sockets lost within two minutes", "percentunit", {"{{job}}": "vestibule:ws_lost:ratio_2m"}),
            ],
            "Buyers": [
                ("Purchase, 95 % (goal: 500 ms)", "s", {"p95": "vestibule:purchase:p95_seconds"}),
                ("Errors of purchases (goal: under 0.5 %)", "percentunit", {"5 min": "vestibule:purchase_errors:ratio_rate5m"}),
                ("Wait for the row, 95 % (goal: 200 ms)", "s", {"p95": "vestibule:lock_wait:p95_seconds"}),
            ],
        },
    ),
}


def main():
    check = sys.argv[1:] == ["--check"]
    wrong = []
    for name, (title, rows) in DASHBOARDS.items():
        file, text = FOLDER / f"{name}.json", json.dumps(dashboard(name, title, rows), indent=1) + "\n"
        if not check:
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            wrong.append(file.name)
    if wrong:
        sys.exit(f"not what dashboards.py makes: {', '.join(wrong)}; run it without --check")


def dashboard(name, title, rows):
    panels, y = [], 0
    for row, content in rows.items():
        panels.append({"type": "row", "title": row, "collapsed": False, "panels": [], "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}})
        y += 1
        for index, (caption, unit, queries) in enumerate(content):
            x, line = index % 3 * WIDTH, index // 3
            panels.append(panel(caption, unit, queries, {"h": HEIGHT, "w": WIDTH, "x": x, "y": y + line * HEIGHT}))
        y += -(-len(content) // 3) * HEIGHT
    for number, item in enumerate(panels, start=1):
        item["id"] = number
    return {
        "uid": f"vestibule-{name}",
        "title": f"Vestibule: {title}",
        "tags": ["vestibule"],
        "schemaVersion": 38,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "links": [{"type": "dashboards", "tags": ["vestibule"], "title": "Vestibule", "asDropdown": True}],
        "templating": {"list": [datasource(), room()]},
        "panels": panels,
    }


def panel(title, unit, queries, place):
    targets = [
        {"datasource": DATASOURCE, "expr": query, "legendFormat": legend, "refId": chr(ord("A") + index)}
        for index, (legend, query) in enumerate(queries.items())
    ]
    return {
        "type": "timeseries",
        "title": title,
        "datasource": DATASOURCE,
        "gridPos": place,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": {"lineWidth": 2, "fillOpacity": 8}}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }


def datasource():
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def room():
    query = "label_values(vestibule_waiting, room)"
    return {
        "name": "room",
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": "room"},
        "definition": query,
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


if __name__ == "__main__":
    main()
