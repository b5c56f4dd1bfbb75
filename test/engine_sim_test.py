"""tweendeck-sim on a software GPU, started as the daemon starts it."""
import asyncio
import json
import os
import signal
import subprocess
import time

import pytest

from engine_harness import ROOT, Engine, hang_up, wait_until

BUILD = ROOT / "build" / "release"
SIM = BUILD / "bin" / "tweendeck-sim"
SOFTGPU = BUILD / "bin" / "tweendeck-softgpu"
if not SIM.exists() or not SOFTGPU.exists():
    pytest.skip("tweendeck-sim or tweendeck-softgpu is not built", allow_module_level=True)

GIB_MIB = 1024
STEP_S = 0.00642  # alpha of sim-8b: the shortest step


def launch(folder, model="sim-8b", args=(), card="H100-80G", env=None):
    cards = folder / f"cards-{card}"
    if not cards.exists():
        subprocess.run([SOFTGPU, "create", "--cards", f"1:{card}", cards], check=True, stdout=subprocess.DEVNULL)
    settings = {"TWEENDECK_SOFTGPU_STATE": str(cards), "LD_LIBRARY_PATH": str(BUILD / "lib" / "softgpu")}
    return Engine(folder, lambda port: [SIM, "--model", model, "--model-name", "talk", "--host", "127.0.0.1",
                                        "--port", str(port), *args], 80 * GIB_MIB, env=settings | (env or {}))


@pytest.fixture
def start(tmp_path):
    engines = []

    def begin(**settings):
        engines.append(launch(tmp_path, **settings))
        return engines[-1]

    yield begin
    for one in engines:
        one.close()


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    one = launch(tmp_path_factory.mktemp("sim"), args=["lora=alice"])
    yield one.wait_ready()
    one.close()


@pytest.fixture
def client(engine):
    openai = pytest.importorskip("openai", reason="PyPI openai is not installed")
    return openai.OpenAI(base_url=f"http://127.0.0.1:{engine.port}/v1", api_key="none", max_retries=0)


def running(engine):
    return engine.metric("vllm:num_requests_running") + engine.metric("vllm:num_requests_waiting")


# --- it says what it is

def test_it_says_that_it_is_simulated(engine, client):
    assert "simulated" in engine.log
    assert engine.status == {"max_in_flight": 256, "context_tokens": 131072, "simulated": True}
    assert all("simulated" in model.owned_by for model in client.models.list())
    answer = client.chat.completions.with_raw_response.create(
        model="talk", messages=[{"role": "user", "content": "hi"}], max_tokens=2)
    assert "simulated" in answer.headers["server"]
    assert "simulated" in answer.parse().system_fingerprint


# --- OpenAI's client

def test_chat_is_a_function_of_its_prompt(client):
    def ask(text, **more):
        return client.chat.completions.create(model="talk", messages=[{"role": "user", "content": text}], **more)

    first, again, other = ask("hello"), ask("hello"), ask("hello!")
    assert first.choices[0].message.content == again.choices[0].message.content != other.choices[0].message.content
    assert first.choices[0].finish_reason == "stop"
    assert first.usage.completion_tokens * 4 == len(first.choices[0].message.content)
    cut = ask("hello", max_tokens=5)
    assert cut.choices[0].finish_reason == "length" and cut.usage.completion_tokens == 5
    assert first.choices[0].message.content.startswith(cut.choices[0].message.content)
    word = first.choices[0].message.content[40:44]
    stopped = ask("hello", stop=word).choices[0]
    assert stopped.message.content == first.choices[0].message.content.split(word)[0]


def test_streaming_gives_the_same_text_token_by_token(client):
    messages = [{"role": "user", "content": "stream please"}]
    whole = client.chat.completions.create(model="talk", messages=messages)
    chunks = list(client.chat.completions.create(model="talk", messages=messages, stream=True,
                                                 stream_options={"include_usage": True}))
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len(pieces) == whole.usage.completion_tokens
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == len(pieces)


def test_completions_ignore_eos(client):
    answer = client.completions.create(model="talk", prompt="go", max_tokens=300, extra_body={"ignore_eos": True})
    assert answer.usage.completion_tokens == 300 and answer.choices[0].finish_reason == "length"


def test_embeddings_in_both_encodings(client):
    texts = ["the cat sat on the mat", "the cat sat on the rug", "rates rose by two percent"]
    near = [item.embedding for item in client.embeddings.create(model="talk", input=texts).data]
    plain = [item.embedding for item in client.embeddings.create(model="talk", input=texts, encoding_format="float").data]
    assert near[0] == pytest.approx(plain[0], abs=1e-5)

    def similarity(a, b):
        return sum(x * y for x, y in zip(a, b))

    assert similarity(near[0], near[1]) > similarity(near[0], near[2])


def test_errors_reach_the_client_as_openai_errors(client):
    import openai
    messages = [{"role": "user", "content": "hi"}]
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nobody", messages=messages)
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        client.chat.completions.create(model="talk", messages=messages, max_tokens=1_000_000)
    with pytest.raises(openai.BadRequestError, match="n must be 1"):
        client.chat.completions.create(model="talk", messages=messages, n=2)


@pytest.mark.parametrize("path,body,status", [
    ("/v1/chat/completions", "{", 400), ("/v1/chat/completions", "[]", 400), ("/v1/nothing", "{}", 404),
    ("/v1/completions", "\xff".encode("latin-1"), 400)])
def test_bad_bodies(engine, path, body, status):
    got, answer = engine.post(path, body)
    assert got == status and answer["error"]["message"] and answer["error"]["code"] == status


def test_limits_of_http(engine):
    connection = engine.connect()
    connection.request("GET", "/health", headers={"X-Long": "x" * 100_000})
    assert connection.getresponse().status == 431
    connection.close()
    connection = engine.connect()
    connection.putrequest("POST", "/v1/completions")
    connection.putheader("Content-Length", str(1 << 30))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_adapters_are_models_that_come_and_go(engine, client):
    assert {model.id for model in client.models.list()} == {"talk", "alice"}
    assert client.completions.create(model="alice", prompt="x", max_tokens=2).model == "alice"
    connection = engine.connect()
    for action, name, status in [("load", "bob", 200), ("load", "bob", 400), ("unload", "bob", 200), ("unload", "bob", 404)]:
        connection.request("POST", f"/v1/{action}_lora_adapter", json.dumps({"lora_name": name, "lora_path": "/x"}))
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status, (action, name)
    connection.close()


# --- time and memory

def test_a_follow_up_turn_computes_only_what_is_new(client):
    talk = [{"role": "user", "content": "long context " * 4000}]
    begin = time.monotonic()
    first = client.chat.completions.create(model="talk", messages=talk, max_tokens=1)
    cold = time.monotonic() - begin
    talk += [{"role": "assistant", "content": first.choices[0].message.content}, {"role": "user", "content": "more"}]
    begin = time.monotonic()
    second = client.chat.completions.create(model="talk", messages=talk, max_tokens=1)
    warm = time.monotonic() - begin
    assert cold > 0.2 > warm  # 13,000 prompt tokens take 255 ms
    recomputed = second.usage.prompt_tokens - second.usage.prompt_tokens_details.cached_tokens
    assert recomputed < 32


def test_tokens_take_the_time_of_the_model(engine):
    tokens = 100
    begin = time.monotonic()
    engine.post("/v1/completions", {"model": "talk", "prompt": "go", "max_tokens": tokens, "ignore_eos": True})
    assert time.monotonic() - begin >= tokens * STEP_S * 0.98


def test_requests_are_batched(engine):
    async def many():
        loop = asyncio.get_running_loop()
        body = {"model": "talk", "prompt": "go", "max_tokens": 100, "ignore_eos": True}
        await asyncio.gather(*[loop.run_in_executor(None, engine.post, "/v1/completions", body) for _ in range(4)])

    begin = time.monotonic()
    asyncio.run(many())
    assert time.monotonic() - begin < 3 * 100 * STEP_S  # one after the other would take 4


def test_a_client_that_goes_frees_its_place_at_once(engine):
    streams = [engine.open_stream("/v1/completions", {"model": "talk", "prompt": f"go {n}", "max_tokens": 50_000,
                                                      "ignore_eos": True}) for n in range(4)]
    raw = engine.connect()
    raw.request("POST", "/v1/completions", json.dumps(
        {"model": "talk", "prompt": "one piece", "max_tokens": 50_000, "ignore_eos": True}))
    assert wait_until(lambda: running(engine) == 5, 5) is not None
    for connection in [*streams, raw]:
        hang_up(connection)
    assert wait_until(lambda: running(engine) == 0, 5) < 1
    assert engine.metric("vllm:kv_cache_usage_perc") == 0


async def read_stream(port, number, tokens):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"model": "talk", "prompt": f"stream {number % 20}", "max_tokens": tokens, "ignore_eos": True,
                       "stream": True}).encode()
    writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
                 % (len(body), body))
    answer = (await reader.read(-1)).split(b"\r\n\r\n", 1)[1]
    writer.close()
    events = b""
    while answer:
        size, answer = answer.split(b"\r\n", 1)
        events, answer = events + answer[:int(size, 16)], answer[int(size, 16) + 2:]
    lines = events.decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return number % 20, "".join(json.loads(line[6:])["choices"][0]["text"] for line in lines[:-2])


def test_200_streams_lose_nothing_and_memory_stays_flat(engine):
    async def wave():
        return await asyncio.gather(*[read_stream(engine.port, number, 60) for number in range(220)])

    sizes = []
    texts = {}
    for _ in range(3):
        for prompt, text in asyncio.run(wave()):
            assert len(text) == 60 * 4
            assert texts.setdefault(prompt, text) == text
        sizes.append(engine.memory_mib())
    assert len(texts) == 20
    assert sizes[-1] - sizes[0] < 8, sizes


def test_metrics_have_vllms_names(engine):
    for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "prefix_cache_queries_total",
                 "prefix_cache_hits_total", "prompt_tokens_total", "generation_tokens_total",
                 "time_to_first_token_seconds_count", "lora_requests_info", "cache_config_info"):
        engine.metric(f"vllm:{name}")
    assert engine.metric("vllm:generation_tokens_total") > 0


# --- start and stop

def test_a_slice_without_room_for_the_weights_is_refused(start):
    status = start(card="T4").wait_refused()
    assert status["reason"] == "SliceTooSmall"
    assert "weights" in status["message"] and "--memory" in status["hint"]


def test_without_the_driver_it_says_so(start):
    status = start(env={"LD_LIBRARY_PATH": "/nonexistent"}).wait_refused()
    assert status["reason"] == "DriverMissing" and "libcuda.so.1" in status["message"]


def test_unknown_models_and_arguments_are_refused(start):
    assert start(model="sim-9b").wait_refused()["reason"] == "ModelNotFound"
    assert start(args=["slots=2"]).wait_refused()["reason"] == "InvalidArgument"


def test_term_finishes_what_runs_and_refuses_the_rest(start):
    engine = start().wait_ready()
    keep = engine.connect()
    keep.request("GET", "/health")
    keep.getresponse().read()
    stream = engine.connect()
    stream.request("POST", "/v1/completions", json.dumps(
        {"model": "talk", "prompt": "x", "max_tokens": 150, "ignore_eos": True, "stream": True}))
    answer = stream.getresponse()
    answer.read(1)
    engine.process.send_signal(signal.SIGTERM)
    assert wait_until(lambda: "Stopping" in engine.log, 5) is not None
    keep.request("POST", "/v1/completions", json.dumps({"model": "talk", "prompt": "y"}))
    assert keep.getresponse().status == 503
    assert answer.read().decode().rstrip().endswith("data: [DONE]")
    assert engine.process.wait(10) == 0


def test_a_second_term_ends_it_at_once(start):
    engine = start().wait_ready()
    stream = engine.open_stream("/v1/completions", {"model": "talk", "prompt": "x", "max_tokens": 50_000, "ignore_eos": True})
    engine.process.send_signal(signal.SIGTERM)
    assert wait_until(lambda: "Stopping" in engine.log, 5) is not None
    os.kill(engine.process.pid, signal.SIGTERM)
    assert engine.process.wait(5) == 0
    hang_up(stream)
