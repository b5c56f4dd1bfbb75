"""kill -9 of the daemon and of replicas: nothing is lost, leaked, duplicated or orphaned."""
import concurrent.futures
import os
import pathlib
import random
import signal
import threading
import time

import requests

from conftest import SOAK, wait_for

KILLS = 200 if SOAK else 20


def engine_pids(deck):
    """Every live process of a replica of this state directory, found without asking the daemon: a sandbox shows its
    replica's working directory in its mount table."""
    found = set()
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"{deck.state}/replicas/" in (entry / "mountinfo").read_text() \
                    and (entry / "comm").read_text().strip() != "tweendeck-shim":
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def slice_groups(pid):
    """The cgroup directories of a replica's slice, read from the kernel."""
    groups = set()
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "/tweendeck-" in path:
            groups |= {group for group in pathlib.Path("/sys/fs/cgroup").glob(f"*{controllers}*{path}")}
    return groups


def settled(deck):
    """Desired = actual: every deployment has its replicas ready, each with one live process, and no process more."""
    deployments = deck.json("ps")["deployments"]
    for found in deployments:
        if len(found["replicas"]) != found["spec"]["replicas"]:
            return False
        if any(replica["phase"] != "ready" for replica in found["replicas"]):
            return False
    known = {replica["pid"] for found in deployments for replica in found["replicas"]}
    return known == engine_pids(deck)


def test_daemon_killed_at_random_moments_of_serve_scale_stop(make_deck):
    deck = make_deck("--soft-gpus", "2:H100-80G").start()
    chance = random.Random(7)
    commands = [["serve", "sim-3b", "--name", "a", "--memory", "10Gi", "--compute", "10", "--no-wait"],
                ["scale", "a", "3"], ["scale", "a", "1"],
                ["serve", "sim-8b", "--name", "b", "--memory", "20Gi", "--compute", "20", "--no-wait"],
                ["stop", "b", "--drain", "0s"], ["stop", "a", "--drain", "0s"]]
    for kill in range(KILLS):
        command = commands[kill % len(commands)]
        runner = threading.Thread(target=deck.run, args=command, kwargs={"check": False})
        runner.start()
        time.sleep(chance.uniform(0.0, 1.2))  # the random moment is the point of the test
        deck.kill(signal.SIGKILL)
        runner.join()
        deck.start()
        wait_for(lambda: settled(deck), 60, f"desired = actual after kill {kill} in {command}")
    deck.run("serve", "sim-3b", "--name", "last", "--memory", "10Gi", "--compute", "10")
    groups = {group.parent for pid in engine_pids(deck) for group in slice_groups(pid)}
    deck.run("down", "--drain", "0s")
    deck.process.wait(30)
    wait_for(lambda: not engine_pids(deck), 10, "no engine survives down")
    leaked = [path for group in groups for path in group.glob("*/cgroup.procs")]
    assert not leaked, "cgroups of slices are left"
    assert not list(deck.state.glob("vgpu/*/*")), "pages of slices are left"


def test_requests_end_engines_stop_and_new_ones_succeed_after_a_kill(make_deck):
    deck = make_deck("--soft-gpus", "1:H100-80G").start()
    deck.run("serve", "sim-8b", "--memory", "40Gi", "--compute", "100", "--device", "soft")
    port = deck.ready("sim-8b")[0]["port"]

    def running():
        text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                   if line.startswith("vllm:num_requests_running"))

    def endless(_):
        with requests.post(f"{deck.url}/v1/completions", stream=True, timeout=60, json={
                "model": "sim-8b", "prompt": "go", "max_tokens": 50000, "ignore_eos": True, "stream": True}) as answer:
            for _ in answer.iter_content(1024):
                pass

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        requests_in_flight = [pool.submit(endless, n) for n in range(4)]
        wait_for(lambda: running() == 4, 10, "four requests run")
        deck.kill(signal.SIGKILL)
        for request in requests_in_flight:
            assert isinstance(request.exception(10), requests.RequestException)
        wait_for(lambda: running() == 0, 1.5, "the engine stops work when its clients are gone")
    restarted = time.monotonic()
    deck.start(wait=False)

    def answered():
        try:
            return requests.post(f"{deck.url}/v1/completions", timeout=5,
                                 json={"model": "sim-8b", "prompt": "hi", "max_tokens": 2}).ok
        except requests.RequestException:
            return False

    wait_for(answered, 10, "a new request succeeds after the restart")
    assert time.monotonic() - restarted < 4  # 2 s on a quiet machine; tests share theirs


def test_replica_killed_under_load_loses_no_request_before_its_first_byte(make_deck):
    deck = make_deck("--soft-gpus", "2:H100-80G").start()
    deck.run("serve", "sim-8b", "--replicas", "2", "--memory", "40Gi", "--compute", "50", "--device", "soft")
    victim = deck.ready("sim-8b")[0]
    outcomes = []

    def ask(number):
        # A long prompt: most of the time goes by before the first byte.
        answer = requests.post(f"{deck.url}/v1/completions", timeout=60, json={
            "model": "sim-8b", "prompt": f"{number} " + "long prompt " * 4000, "max_tokens": 1, "ignore_eos": True})
        outcomes.append(answer.status_code)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for number in range(160):
            pool.submit(ask, number)
            if number == 60:
                os.kill(victim["pid"], signal.SIGKILL)
    assert outcomes.count(200) == 160, outcomes
    wait_for(lambda: deck.ready("sim-8b") and len(deck.ready("sim-8b")) == 2, 60, "the replica comes back")
    events = [event for event in deck.events() if event["subject"] == victim["id"]]
    assert "ReplicaKilled" in [event["reason"] for event in events]

    def story():
        return [event for event in deck.events() if event["action"] == "Retried" and event["subject"] == victim["id"]]

    retried = wait_for(story, 5, "the events tell of the retries")
    assert len(retried) <= 5, "one event per second, not one per request"
    assert retried[0]["reason"] == "UpstreamFailed" and "retried" in retried[0]["message"]


def test_replace_hands_over_without_touching_replicas(make_deck):
    deck = make_deck("--soft-gpus", "1:H100-80G").start()
    deck.run("serve", "sim-3b", "--memory", "20Gi", "--compute", "50", "--device", "soft")
    before = deck.ready("sim-3b")[0]["pid"]
    old = deck.process
    deck.start("--replace")
    old.wait(20)
    wait_for(deck.answers, 20, "the new daemon answers")
    assert wait_for(lambda: deck.ready("sim-3b"), 20, "adopted")[0]["pid"] == before


def test_sigterm_leaves_replicas_running(make_deck):
    deck = make_deck("--soft-gpus", "1:H100-80G").start()
    deck.run("serve", "sim-3b", "--memory", "20Gi", "--compute", "50", "--device", "soft")
    before = deck.ready("sim-3b")[0]["pid"]
    deck.kill(signal.SIGTERM)
    assert pathlib.Path(f"/proc/{before}").exists()
    deck.start()
    assert wait_for(lambda: deck.ready("sim-3b"), 20, "adopted")[0]["pid"] == before
