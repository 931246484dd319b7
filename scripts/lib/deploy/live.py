"""The local overlay in small: its Redis, with its arguments and rights, and an edge with its settings and keys."""

import json
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from programs import prepared, secrets_by_name, variables
from tree import Tree

VARIANT = "local"
# Starting takes an edge well under a second, and 5 s until it gives up on a store.
PATIENCE_SECONDS = 20


def edge_starts(tree: Tree) -> Iterator[str]:
    """It finds its store ready, publishes its keys under the name that the box office calls, and knows the room."""
    made = secrets_by_name(tree)["store"]
    with tempfile.TemporaryDirectory(prefix="live-") as folder, redis(tree, Path(folder), made) as store:
        site, operator = (free_port() for _ in range(2))
        env = variables(tree, VARIANT, folder) | {
            "VESTIBULE__STORE__URL": f"unix://{store}",
            "VESTIBULE__SERVER__LISTEN": f"127.0.0.1:{site}",
            "VESTIBULE__OPERATOR__LISTEN": f"127.0.0.1:{operator}",
            "VESTIBULE_UPGRADE_SOCKET": f"{folder}/upgrade.sock",
        }
        settings = prepared(tree, VARIANT, Path(folder), made["password"])
        with started([tree.facts.vestibule, "run", "--config", settings], env) as edge:
            yield from asked(edge, site, operator)


def asked(edge: subprocess.Popen, site: int, operator: int) -> Iterator[str]:
    ready = get(edge, operator, "/readyz", "localhost")
    if not ready or json.loads(ready).get("store") != "here":
        yield f"the edge is not ready: {ready or said(edge)}"
        return
    # As PASS_JWKS_URL has it; the room's state is asked for under the same name.
    name = "edge.vestibule.svc.cluster.local:8080"
    if '"kid":"pass-1"' not in (get(edge, site, "/_queue/jwks.json", name) or "").replace(" ", ""):
        yield "the edge does not publish the key pass-1 to the box office"
    if '"status"' not in (get(edge, site, "/_queue/rooms/e1", name) or ""):
        yield "the edge does not tell the box office how the room stands"


@contextmanager
def redis(tree: Tree, folder: Path, made: dict[str, str]) -> Iterator[Path]:
    """By the manifest's own arguments, on a socket."""
    (folder / "store").mkdir()
    (folder / "store/users.acl").write_text(made["users.acl"])
    container = next(pod for pod in tree.pods(VARIANT) if pod.name == "redis").containers[0]
    arguments = [text.replace("/run/secrets", str(folder)) for text in container["args"]]
    place = folder / "redis.sock"
    with started(
        [*arguments, "--port", "0", "--unixsocket", place, "--dir", folder], {"PATH": "/usr/bin:/bin"}
    ) as server:
        until(lambda: place.exists() or server.poll() is not None)
        yield place


@contextmanager
def started(command: list, env: dict[str, str]) -> Iterator[subprocess.Popen]:
    program = subprocess.Popen(
        list(map(str, command)), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield program
    finally:
        program.kill()
        program.wait()
        program.stdout.close()


def get(edge: subprocess.Popen, port: int, path: str, host: str) -> str | None:
    """The body of the first answer; None if the edge ends before it, or none comes in time."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": host})
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and edge.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=2) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError:
            time.sleep(0.05)
    return None


def said(program: subprocess.Popen) -> str:
    program.kill()
    return " ".join(program.stdout.read().splitlines()[-3:])


def until(condition) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
