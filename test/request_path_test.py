"""Bytes on their way through the gateway: 200 streams at once, retries, overload, and what it refuses."""
import concurrent.futures
import hashlib
import http.client
import json
import re
import socket

import pytest
import requests

from conftest import SOAK, wait_for

CLIENTS = 200


def stream_digest(port, model, number, max_tokens):
    """Digest of one streamed answer's text, read from the raw events."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", "/v1/completions", json.dumps({
        "model": model, "prompt": f"Stream number {number}. " * 8, "max_tokens": max_tokens, "stream": True,
        "ignore_eos": True}), {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200
    body = response.read().decode()
    events = [line[6:] for line in body.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    text = "".join(choice["text"] for event in events[:-1] for choice in json.loads(event)["choices"])
    return hashlib.sha256(text.encode()).hexdigest(), len(events)


def resident_bytes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1)) * 1024


def test_200_streams_lose_and_reorder_nothing_and_memory_stays_flat(sim_deck):
    direct_port = sim_deck.ready("sim-8b")[0]["port"]
    tokens = 200 if SOAK else 60
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        def all_streams(port):
            return list(pool.map(lambda n: stream_digest(port, "sim-8b", n, tokens), range(CLIENTS)))

        through = all_streams(sim_deck.port)
        warm_bytes = resident_bytes(sim_deck.process.pid)
        for _ in range(5 if SOAK else 2):
            assert all_streams(sim_deck.port) == through
        assert resident_bytes(sim_deck.process.pid) < warm_bytes + 8 * 1024 * 1024
    # The model's text is a function of the prompt, so a replica asked directly says the same.
    sample = range(0, CLIENTS, 20)
    assert [stream_digest(direct_port, "sim-8b", n, tokens) for n in sample] == [through[n] for n in sample]


def raw(port, data, timeout_s=15, read=65536):
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        connection.sendall(data)
        try:
            return connection.recv(read).decode(errors="replace")
        except (TimeoutError, ConnectionResetError):
            return ""


def post(deck, body, path="/v1/chat/completions"):
    return requests.post(f"{deck.url}{path}", data=body, headers={"Content-Type": "application/json"}, timeout=30)


@pytest.mark.parametrize("body, status, code", [
    (b'{"model": "sim-8b", "messages": [', 400, "MalformedRequest"),
    (b'{"model": "sim-8b", "model": "other", "messages": []}', 400, "DuplicateModelKey"),
    (b'{"messages": []}', 400, "MissingModel"),
    (b'[1, 2]', 400, "MalformedRequest"),
    (b'{"model": "nope", "messages": []}', 404, "UnknownModel"),
    (b'{"model": 7, "messages": []}', 400, None),
])
def test_bad_bodies_get_their_error(sim_deck, body, status, code):
    answer = post(sim_deck, body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["message"] and error["type"]
    if code:
        assert error["code"] == code


def test_body_of_100_megabytes_is_refused_or_streamed_without_growing(sim_deck):
    before = resident_bytes(sim_deck.process.pid)
    body = b'{"model": "sim-8b", "max_tokens": 1, "prompt": "' + b"x" * 100_000_000 + b'"}'
    try:
        status = post(sim_deck, body, "/v1/completions").status_code
    except requests.ConnectionError:
        status = 413  # the gateway closed while the client was still sending
    assert status in (200, 400, 413)
    assert resident_bytes(sim_deck.process.pid) < before + 32 * 1024 * 1024


def test_header_bombs_get_431(sim_deck):
    bomb = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 900) for n in range(200))
    assert " 431 " in raw(sim_deck.port, bomb + b"\r\n")


def test_smuggling_shapes_are_refused(sim_deck):
    both = (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\n")
    assert " 400 " in raw(sim_deck.port, both)


def test_metrics_pass_promtool(sim_deck):
    import subprocess
    text = requests.get(f"{sim_deck.url}/metrics", timeout=10).text
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "tweendeck_gateway_" in text


def test_prompts_are_never_logged(sim_deck):
    secret = "xyzzy-plugh-prompt"
    post(sim_deck, json.dumps({"model": "sim-8b", "max_tokens": 2, "messages": [{"role": "user", "content": secret}]}))
    post(sim_deck, b'{"model": "sim-8b", "prompt": "' + secret.encode())
    wait_for(lambda: requests.get(f"{sim_deck.url}/healthz", timeout=5).ok, 5, "gateway is healthy")
    assert secret not in sim_deck.log()
