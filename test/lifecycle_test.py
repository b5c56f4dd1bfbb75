"""up, down and their failures: whoever cannot start disturbs nobody, and whoever stops says so and leaves nothing."""
import concurrent.futures
import ctypes
import os
import signal
import socket
import stat
import struct
import subprocess

import pytest
import requests

from conftest import TWEENDECK, free_port, wait_for

SIM = ["--memory", "20Gi", "--compute", "50", "--device", "soft"]


def replace(deck, *flags, port=None):
    """A take-over that is expected to fail."""
    return subprocess.run([TWEENDECK, "up", "--replace", "--state-dir", deck.state,
                           "--listen", f"127.0.0.1:{port or deck.port}", *flags],
                          capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False)


@pytest.fixture
def serving_deck(make_deck):
    deck = make_deck("--soft-gpus", "1:H100-80G").start()
    deck.run("serve", "sim-3b", *SIM)
    return deck


@pytest.fixture
def slow_request(serving_deck):
    """A request that runs for many seconds on serving_deck."""
    body = {"model": "sim-3b", "prompt": "tell", "max_tokens": 4000, "ignore_eos": True}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(requests.post, f"{serving_deck.url}/v1/completions", json=body, timeout=120)
        wait_for(lambda: any(e["in_flight"] for e in serving_deck_endpoints(serving_deck)), 20, "the request runs")
        yield asked


def serving_deck_endpoints(deck):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(deck.state / "tweendeck.sock"))
        connection.sendall(b"GET /v1/endpoints HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return requests.models.complexjson.loads(answer.split(b"\r\n\r\n", 1)[1])["endpoints"]


@pytest.mark.parametrize("flags, reason", [
    (["--soft-gpus", "2:NOSUCH"], "DeviceGone"),
    (["--soft-gpus", "1:H100-80G"], "DeviceGone"),
    (["--api-keys", "/nonexistent/keys"], "NotFound"),
    (["--cert", "/nonexistent/cert", "--key", "/nonexistent/key"], "NotFound"),
    (["--engine-dir", "/nonexistent/engines"], "NotFound"),
])
def test_a_take_over_that_cannot_start_leaves_the_old_daemon_alone(sim_deck, flags, reason):
    before = sim_deck.json("version")["daemon"]["pid"]
    refused = replace(sim_deck, *flags)
    assert refused.returncode not in (0, 130) and reason in refused.stderr, refused.stderr
    assert "goes on" in refused.stderr
    assert sim_deck.json("version")["daemon"]["pid"] == before
    assert requests.get(f"{sim_deck.url}/readyz", timeout=10).status_code == 200


def test_a_take_over_with_impossible_gpus_leaves_the_old_daemon_alone(make_deck):
    deck = make_deck().start()
    refused = replace(deck, "--soft-gpus", "2:NOSUCH")
    assert refused.returncode == 2 and "InvalidArgument" in refused.stderr
    assert deck.process.poll() is None and deck.json("ps")["deployments"] == []


def header_check(head):
    """The slice journal's: the low half of XXH3-64 over what follows it, nothing, seeded with that of the head."""
    xxh3 = ctypes.CDLL("libxxhash.so.0").XXH3_64bits_withSeed
    xxh3.argtypes, xxh3.restype = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64), ctypes.c_uint64
    return xxh3(b"", 0, xxh3(head, len(head), 0)) & 0xffffffff


@pytest.mark.parametrize("newer", [True, False])
def test_a_take_over_of_a_slice_journal_that_it_cannot_read_leaves_the_old_daemon_alone(make_deck, newer):
    deck = make_deck().start()
    journal = deck.state / "slices.journal"
    before = journal.read_bytes()
    head = before[:8] + struct.pack("<I", 1_000_000)
    journal.write_bytes(head + struct.pack("<I", header_check(head) ^ (not newer)) + before[16:])
    refused = replace(deck)
    assert ("StateNewer" if newer else "JournalCorrupt") in refused.stderr, refused.stderr
    assert refused.returncode != 0 and "slices.journal" in refused.stderr and "goes on" in refused.stderr
    assert deck.process.poll() is None and deck.json("ps")["deployments"] == []
    journal.write_bytes(before)


def test_a_take_over_onto_a_taken_port_leaves_the_old_daemon_alone(sim_deck):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        refused = replace(sim_deck, port=other.getsockname()[1])
    assert refused.returncode == 6 and "in use" in refused.stderr
    assert sim_deck.process.poll() is None and sim_deck.ready("sim-8b")


def test_a_stopping_daemon_refuses_changes_and_a_shorter_drain_ends_it(serving_deck, slow_request):
    deck = serving_deck
    replica = deck.ready("sim-3b")[0]["pid"]
    first = subprocess.Popen([TWEENDECK, "down", "--state-dir", deck.state, "--drain", "600s"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: deck.json("version")["daemon"]["stopping"], 20, "it stops")
        for change in (["serve", "sim-8b", "--no-wait", *SIM], ["scale", "sim-3b", "2"], ["stop", "sim-3b"]):
            refused = deck.run(*change, check=False)
            assert refused.returncode == 5 and "ShuttingDown" in refused.stderr, refused.stderr
        assert requests.get(f"{deck.url}/readyz", timeout=10).status_code == 503
        assert requests.get(f"{deck.url}/healthz", timeout=10).status_code == 200
        asked = requests.post(f"{deck.url}/v1/completions", json={"model": "sim-3b", "prompt": "x"}, timeout=10)
        assert asked.status_code == 503 and asked.json()["error"]["code"] == "ShuttingDown"
        assert "stopping" in deck.run("ps").stderr and "stopping" in deck.run("version").stdout
        assert not slow_request.done()
        deck.run("down", "--drain", "0s", timeout=60)
        assert first.wait(30) == 0
        deck.process.wait(10)
        assert not os.path.exists(f"/proc/{replica}")
    finally:
        first.kill()
        first.wait()


def test_a_daemon_that_waits_for_requests_still_answers(serving_deck, slow_request):
    deck = serving_deck
    deck.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "stopping" in deck.run("ps").stderr, 10, "ps says that it stops")
    assert deck.ready("sim-3b") and not slow_request.done()
    assert any(event["action"] == "Ready" for event in deck.events())
    refused = deck.run("scale", "sim-3b", "2", check=False)
    assert refused.returncode == 5 and "ShuttingDown" in refused.stderr, refused.stderr
    assert deck.process.poll() is None
    deck.process.send_signal(signal.SIGTERM)
    assert deck.process.wait(10) == 130


def test_a_drain_is_as_long_as_it_says(serving_deck, slow_request):
    serving_deck.run("stop", "sim-3b", "--drain", "700ms")
    told = [event["message"] for event in serving_deck.events() if event["action"] == "Removing"]
    assert told == ["drains for 700 ms at most"]


def test_an_existing_directory_is_taken_as_it_is_or_refused(make_deck):
    deck = make_deck()
    deck.state.mkdir(mode=0o755)
    deck.state.chmod(0o755)
    deck.start()
    assert stat.S_IMODE(deck.state.stat().st_mode) == 0o755
    deck.down()
    deck.state.chmod(0o777)
    for detach in ([], ["--detach"]):
        refused = deck.run("up", "--listen", f"127.0.0.1:{free_port()}", *detach, check=False)
        assert refused.returncode != 0 and "PermissionDenied" in refused.stderr and "chmod 700" in refused.stderr
        assert stat.S_IMODE(deck.state.stat().st_mode) == 0o777
    deck.state.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_told_of_permissions_and_not_of_no_daemon(sim_deck):
    sim_deck.directory.chmod(0o755)
    for command in ("ps", "down", "version"):
        refused = sim_deck.run(command, check=False, user=65534, group=65534, extra_groups=[])
        assert refused.returncode == 1 and "PermissionDenied" in refused.stderr, refused.stdout + refused.stderr
        assert "daemon's user" in refused.stderr


def test_replicas_without_a_daemon_are_told_and_adopted(serving_deck):
    deck = serving_deck
    deck.kill(signal.SIGKILL)
    for command in ("down", "ps"):
        told = deck.run(command, check=False)
        assert told.returncode == 3 and "1 replica still is" in told.stderr and "adopts" in told.stderr, told.stderr
    assert "1 replica still is" in deck.run("version").stdout
    deck.start()
    wait_for(lambda: "1 running replica adopted" in deck.log(), 10, "up tells what it adopted")


def test_events_of_a_subject_are_filtered_in_both_formats(sim_deck):
    subjects = {event["subject"] for event in sim_deck.json("events", "--subject", "sim-8b-1")["events"]}
    assert subjects == {"sim-8b-1"}
    unknown = sim_deck.run("events", "--subject", "sim-8b-x")
    assert unknown.stdout == "" and "no event is about 'sim-8b-x'" in unknown.stderr
    assert sim_deck.json("events", "--subject", "sim-8b-x") == {"events": []}


def test_an_interrupted_bench_exits_130(sim_deck):
    bench = subprocess.Popen([TWEENDECK, "bench", "sim-8b", "--state-dir", sim_deck.state, "--requests", "4",
                              "--concurrency", "2", "--output-tokens", "4000"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: any(e["in_flight"] for e in serving_deck_endpoints(sim_deck)), 20, "a request runs")
    bench.send_signal(signal.SIGINT)
    out, err = bench.communicate(timeout=20)
    assert bench.returncode == 130
    assert out == "" and "interrupted" in err


def test_an_empty_state_dir_is_refused():
    for command in ("ps", "up"):
        refused = subprocess.run([TWEENDECK, command, "--state-dir", ""], capture_output=True, text=True, timeout=20,
                                 check=False)
        assert refused.returncode == 2 and "InvalidArgument" in refused.stderr
