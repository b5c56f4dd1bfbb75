"""A slice's limits are real: compute within two points, memory by the slice alone, with a reason that why tells."""
import concurrent.futures
import json
import os
import pathlib
import time

import pytest
import requests

from conftest import wait_for

CPUS = len(os.sched_getaffinity(0))


def cgroup_cpu_seconds(pid):
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "cpuacct" in controllers.split(","):
            return int(pathlib.Path(f"/sys/fs/cgroup/cpuacct{path}/cpuacct.usage").read_text()) / 1e9
        if controllers == "" and (pathlib.Path(f"/sys/fs/cgroup{path}") / "cpu.stat").exists():
            text = (pathlib.Path(f"/sys/fs/cgroup{path}") / "cpu.stat").read_text()
            return int(text.split()[1]) / 1e6
    raise AssertionError("no cgroup with CPU accounting")


@pytest.mark.slow
def test_twenty_percent_is_twenty_percent_under_full_load(make_deck):
    deck = make_deck().start()
    if deck.json("devices")["devices"][0]["isolation"] != "kernel":
        pytest.skip("no cgroup can be written here")
    deck.run("serve", "smollm2", "--memory", "1Gi", "--compute", "20", timeout=180)
    pid = deck.ready("smollm2")[0]["pid"]

    def busy(stop):
        while time.monotonic() < stop:
            requests.post(f"{deck.url}/v1/completions", timeout=120,
                          json={"model": "smollm2", "prompt": f"{time.monotonic()} tell a story", "max_tokens": 64})

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        stop = time.monotonic() + 16
        for _ in range(3):
            pool.submit(busy, stop)
        time.sleep(2)  # the load reaches its full height
        used, started = cgroup_cpu_seconds(pid), time.monotonic()
        time.sleep(12)  # the measuring window
        share = (cgroup_cpu_seconds(pid) - used) / (time.monotonic() - started) / CPUS * 100
    assert 18 <= share <= 22, f"the slice got {share:.1f} % of the device"


def test_memory_limit_of_a_soft_gpu_slice_refuses_the_engine(make_deck):
    deck = make_deck("--soft-gpus", "1:H100-80G").start()
    deck.run("serve", "sim-8b", "--memory", "2Gi", "--compute", "50", "--device", "soft", "--timeout", "20s", check=False)
    why = deck.run("why", "sim-8b", check=False).stdout
    assert "SliceTooSmall" in why or "OutOfMemory" in why


def test_process_over_its_memory_is_stopped_by_its_own_slice_and_why_tells(make_deck, tmp_path):
    deck = make_deck()
    folder = tmp_path / "hog"
    folder.mkdir(mode=0o755)
    (folder / "engine.yaml").write_text(HOG_YAML)
    (folder / "server.py").write_text(HOG_SERVER)
    deck.up_args += ["--engine-dir", str(tmp_path)]
    deck.start()
    if deck.json("devices")["devices"][0]["isolation"] != "kernel":
        pytest.skip("no cgroup can be written here")
    deck.run("serve", "hog", "--name", "hog", "--memory", "300Mi", "--compute", "20")
    deck.run("serve", "hog", "--name", "bystander", "--memory", "300Mi", "--compute", "20")
    bystander = deck.ready("bystander")[0]["pid"]
    port = deck.ready("hog")[0]["port"]
    with pytest.raises(requests.RequestException):
        requests.get(f"http://127.0.0.1:{port}/eat", timeout=60)
    wait_for(lambda: any(e["reason"] == "OutOfMemory" for e in deck.events()), 20, "the event names the reason")
    why = deck.run("why", "hog", check=False).stdout
    assert "OutOfMemory" in why and "300 MiB" in why
    assert deck.ready("bystander")[0]["pid"] == bystander


HOG_YAML = """\
apiVersion: tweendeck/v1
kind: Engine
name: hog
description: A server that eats memory when asked, to see its slice stop it
simulated: false
models: {names: [hog]}
devices: [cpu]
command: ["{python}", "{engine}/server.py"]
ready: {path: /health, timeout_s: 30}
health: {path: /health, interval_s: 1, timeout_s: 5, failures: 3}
abilities: [completions]
stop: {signal: TERM, grace_s: 2}
"""

HOG_SERVER = """\
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/eat":
            held = []
            while True:
                held.append(bytearray(os.urandom(1 << 20)) * 16)
        self.send_response(200); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer((os.environ["TWEENDECK_HOST"], int(os.environ["TWEENDECK_PORT"])), Handler).serve_forever()
"""
