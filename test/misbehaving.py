"""Engines that start at once and misbehave when asked, and disks that are full: for the tests of bad input."""
import contextlib
import os
import subprocess

import pytest
import requests

MIB = 1 << 20

ENGINE_YAML = """\
apiVersion: tweendeck/v1
kind: Engine
name: {name}
description: A small server for tests of bad input
simulated: false
models: {{names: [{name}]}}
devices: [cpu]
command: ["{{python}}", "-S", "{{engine}}/server.py"]
ready: {{path: /health, timeout_s: {ready_s}}}
health: {{path: /health, interval_s: 1, timeout_s: 5, failures: 3}}
abilities: [chat, completions]
stop: {{signal: TERM, grace_s: 1}}
"""

# Answers /health, counts at /logged what it has written to its log, and completes anything with "ok".
SERVER = """\
import http.server, json, os, threading
logged = 0
def chatter():
    global logged
    line = b"x" * 1023 + b"\\n"
    while True:
        logged += os.write(1, line * 32)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(logged)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({"object": "text_completion", "choices": [{"index": 0, "text": "ok", "finish_reason": "stop"}]})
    def log_message(self, *a): pass
if %(chatters)r:
    threading.Thread(target=chatter, daemon=True).start()
http.server.ThreadingHTTPServer((os.environ["TWEENDECK_HOST"], int(os.environ["TWEENDECK_PORT"])), Handler).serve_forever()
"""

HANGS = "import threading\nthreading.Event().wait()\n"


def write_engine(folder, name, server, ready_s=20):
    engine = folder / name
    engine.mkdir(mode=0o755)
    (engine / "engine.yaml").write_text(ENGINE_YAML.format(name=name, ready_s=ready_s))
    (engine / "server.py").write_text(server)


@pytest.fixture
def engines(tmp_path):
    """A folder with the engines `plain`, `chatty` (logs without end) and `hang` (never ready)."""
    folder = tmp_path / "engines"
    folder.mkdir()
    write_engine(folder, "plain", SERVER % {"chatters": False})
    write_engine(folder, "chatty", SERVER % {"chatters": True})
    write_engine(folder, "hang", HANGS, ready_s=2)
    return folder


def serve(deck, model, *args, **options):
    return deck.run("serve", model, "--memory", "128Mi", "--compute", "10", *args, **options)


def completes(deck, model="plain", **options):
    url = options.pop("url", deck.url)
    return requests.post(f"{url}/v1/completions", json={"model": model, "prompt": "hello"}, timeout=10, **options)


@contextlib.contextmanager
def small_disk(path, size):
    """A file system of its own at the path."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    path.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", path], capture_output=True,
                             text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def fill(path):
    """Takes all the space that is left."""
    with path.open("wb", buffering=0) as ballast:
        for piece in (MIB, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    ballast.write(b"\0" * piece)
    return path
