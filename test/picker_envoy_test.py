"""The endpoint picker behind real Envoy: bodies, fallbacks, refusals, aborts, drain, restarts."""
import hashlib
import http.client
import itertools
import json
import signal
import shutil

import pytest

from conftest import TWEENDECK, short_directory, wait_for
from envoy_harness import ENVOY, Envoy, Picker, Upstream, ask

if not ENVOY.exists() or not TWEENDECK.exists():
    pytest.skip("Envoy (scripts/setup --tests) or tweendeck is not there", allow_module_level=True)

BASE_IDS = itertools.count(7100)


class Stage:
    """Picker, Envoy and three upstreams."""

    def __init__(self, *flags):
        self.folder = short_directory()
        self.upstreams = [Upstream(name) for name in "abc"]
        ports = [upstream.port for upstream in self.upstreams]
        self.picker = Picker(self.folder, ports, *flags)
        self.envoy = Envoy(self.folder, self.picker.port, ports, next(BASE_IDS))

    def close(self):
        self.envoy.close()
        self.picker.close()
        for upstream in self.upstreams:
            upstream.hold.set()
            upstream.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def upstream(self, name):
        return self.upstreams["abc".index(name)]


@pytest.fixture(scope="module")
def stage():
    made = Stage()
    yield made
    made.close()


@pytest.fixture
def own_stage():
    made = []

    def make(*flags):
        made.append(Stage(*flags))
        return made[-1]

    yield make
    for each in made:
        each.close()


def prompt(size, model="m"):
    return json.dumps({"model": model, "prompt": "".join(chr(97 + i % 26) for i in range(size))}).encode()


@pytest.mark.parametrize("way", ["single", "listed"])
def test_a_request_reaches_the_chosen_endpoint_with_its_bytes(stage, way):
    port = getattr(stage.envoy, way)
    body = prompt(1000)
    status, headers, data = ask(port, "/v1/completions", body, {
        "x-gateway-inference-objective": "o", "x-gateway-destination-endpoint": "127.0.0.1:1", "x-own": "stays"})
    got = json.loads(data)
    assert status == 200 and headers["x-went-into-resp-headers"] == "true"
    assert got["sha256"] == hashlib.sha256(body).hexdigest()
    assert got["headers"]["x-gateway-destination-endpoint"] == stage.upstream(got["server"]).address
    assert "x-gateway-inference-objective" not in got["headers"] and got["headers"]["x-own"] == "stays"
    # The same prompt again goes where it was.
    assert json.loads(ask(port, "/v1/completions", body)[2])["server"] == got["server"]


def test_a_request_without_a_body_goes_to_any_endpoint(stage):
    connection = http.client.HTTPConnection("127.0.0.1", stage.envoy.single, timeout=30)
    connection.request("GET", "/v1/models")
    answer = connection.getresponse()
    assert answer.status == 200 and json.loads(answer.read())["path"] == "/v1/models"
    connection.close()


def test_refusals_are_openai_errors(stage):
    status, headers, data = ask(stage.envoy.single, "/v1/completions", b"{oops")
    assert status == 400 and headers["content-type"] == "application/json"
    assert json.loads(data)["error"]["code"] == "MalformedRequest"
    status, _, data = ask(stage.envoy.single, "/v1/completions", {"prompt": "x"})
    assert status == 400 and json.loads(data)["error"]["code"] == "MissingModel"


def test_the_model_is_renamed_by_header(stage):
    got = json.loads(ask(stage.envoy.single, "/v1/completions", {"model": "base", "prompt": "x"},
                         {"x-llm-d-model-name-rewrite": "base-v2"})[2])
    assert got["start"] == '{"model": "base-v2", "prompt": "x"}'
    assert "x-llm-d-model-name-rewrite" not in got["headers"]


def test_bodies_pass_byte_for_byte_both_ways(stage):
    for size in (1, 61_999, 62_001, 1_000_000):
        body = prompt(size)
        status, _, data = ask(stage.envoy.single, "/v1/mirror", body)
        assert (status, hashlib.sha256(data).digest()) == (200, hashlib.sha256(body).digest()), size
    wait_for(lambda: stage.picker.metric("tweendeck_picker_open_requests") == 0, 10, "no request is open")
    assert stage.picker.metric("llm_d_epp_request_running") == 0


@pytest.mark.slow
def test_twenty_megabytes_pass_byte_for_byte(stage):
    body = prompt(20 << 20)
    status, _, data = ask(stage.envoy.single, "/v1/mirror", body)
    assert (status, hashlib.sha256(data).digest()) == (200, hashlib.sha256(body).digest())


def test_chunked_bodies_and_trailers_pass(stage):
    body = prompt(5000)
    connection = http.client.HTTPConnection("127.0.0.1", stage.envoy.single, timeout=30)
    connection.putrequest("POST", "/v1/mirror")
    connection.putheader("transfer-encoding", "chunked")
    connection.putheader("trailer", "x-checksum")
    connection.endheaders()
    for at in range(0, len(body), 700):
        piece = body[at:at + 700]
        connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
    connection.send(b"0\r\nx-checksum: 1\r\n\r\n")
    answer = connection.getresponse()
    assert answer.status == 200 and answer.read() == body
    connection.close()


def test_a_stream_passes_piece_by_piece_and_an_abort_reaches_the_engine(stage):
    for upstream in stage.upstreams:
        upstream.hold.clear()
        upstream.aborted.clear()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", stage.envoy.single, timeout=30)
        connection.request("POST", "/v1/slow", prompt(10))
        answer = connection.getresponse()
        assert answer.read1(1000) == b'data: {"n":0}\n\n'  # though the engine has not gone on
        assert stage.picker.metric("llm_d_epp_request_running") == 1
        connection.sock.close()
        answer.close()
        wait_for(lambda: any(upstream.aborted.is_set() for upstream in stage.upstreams), 10, "the engine sees it")
        wait_for(lambda: stage.picker.metric("llm_d_epp_request_running") == 0, 10, "its account is settled")
    finally:
        for upstream in stage.upstreams:
            upstream.hold.set()


def test_the_list_is_walked_when_the_first_endpoint_is_dead(own_stage):
    stage = own_stage("--fallbacks", "2")
    body = prompt(300)
    first = json.loads(ask(stage.envoy.listed, "/v1/completions", body)[2])["server"]
    stage.upstream(first).close()
    status, _, data = ask(stage.envoy.listed, "/v1/completions", body)
    assert status == 200 and json.loads(data)["server"] != first


def test_the_endpoints_file_is_followed(own_stage):
    stage = own_stage()
    stage.picker.write([stage.upstreams[1].port])
    wait_for(lambda: stage.picker.metric("llm_d_epp_ready_endpoints") == 1, 10, "the file is read again")
    for i in range(5):
        assert json.loads(ask(stage.envoy.single, "/v1/completions", prompt(200 + i))[2])["server"] == "b"
    stage.picker.write([])
    wait_for(lambda: stage.picker.metric("llm_d_epp_ready_endpoints") == 0, 10, "the file is read again")
    status, headers, data = ask(stage.envoy.single, "/v1/completions", prompt(10))
    assert status == 503 and headers["retry-after"] == "1" and json.loads(data)["error"]["code"] == "NoEndpoint"
    assert headers["x-llm-d-request-dropped-reason"] == "rejected-no-endpoints"


def test_drain_loses_nothing_and_a_new_picker_takes_over(own_stage):
    stage = own_stage("--drain", "20s")
    for upstream in stage.upstreams:
        upstream.hold.clear()
    connection = http.client.HTTPConnection("127.0.0.1", stage.envoy.single, timeout=30)
    connection.request("POST", "/v1/slow", prompt(10))
    answer = connection.getresponse()
    assert answer.read1(1000) == b'data: {"n":0}\n\n'
    stage.picker.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "Draining" in (stage.picker.folder / f"picker-{stage.picker.port}.log").read_text(), 10, "draining")
    assert stage.picker.process.poll() is None
    for upstream in stage.upstreams:
        upstream.hold.set()
    assert answer.read() == b"".join(b'data: {"n":%d}\n\n' % i for i in range(1, 5))
    connection.close()
    assert stage.picker.process.wait(15) == 0
    stage.picker.start()
    wait_for(lambda: ask(stage.envoy.single, "/v1/completions", prompt(10))[0] == 200, 15, "Envoy asks the new one")


def test_envoy_comes_back(own_stage):
    stage = own_stage()
    assert ask(stage.envoy.single, "/v1/completions", prompt(10))[0] == 200
    stage.envoy.close()
    wait_for(lambda: stage.picker.metric("tweendeck_picker_open_requests") == 0, 10, "no request is open")
    stage.envoy.start()
    assert ask(stage.envoy.single, "/v1/completions", prompt(10))[0] == 200
