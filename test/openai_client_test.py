"""The `openai` Python client, unchanged, against the gateway: the real model and the simulated one."""
import openai
import pytest
import requests

from conftest import wait_for


def client_of(deck, **options):
    return openai.OpenAI(base_url=f"{deck.url}/v1", api_key="unused", max_retries=0, timeout=60, **options)


def test_chat_answers_with_real_words(smollm2_deck):
    answer = client_of(smollm2_deck).chat.completions.create(
        model="smollm2", max_tokens=24, temperature=0,
        messages=[{"role": "user", "content": "What is the capital of France? Answer in one word."}])
    assert "paris" in answer.choices[0].message.content.lower()
    assert answer.usage.completion_tokens > 0


def test_streamed_chat_equals_the_whole_answer(smollm2_deck):
    client = client_of(smollm2_deck)
    question = {"model": "smollm2", "max_tokens": 16, "temperature": 0, "seed": 1,
                "messages": [{"role": "user", "content": "Count from one to five."}]}
    whole = client.chat.completions.create(**question).choices[0].message.content
    pieces = [chunk.choices[0].delta.content or ""
              for chunk in client.chat.completions.create(stream=True, **question) if chunk.choices]
    assert len(pieces) > 3
    assert "".join(pieces) == whole


def test_embeddings(sim_deck):
    answer = client_of(sim_deck).embeddings.create(model="sim-8b", input=["one", "two"])
    assert len(answer.data) == 2
    assert len(answer.data[0].embedding) == len(answer.data[1].embedding) > 0


def test_models_are_listed(smollm2_deck):
    assert "smollm2" in [model.id for model in client_of(smollm2_deck).models.list()]


def test_unknown_model_is_404_and_names_the_known_ones(smollm2_deck):
    with pytest.raises(openai.NotFoundError) as refused:
        client_of(smollm2_deck).chat.completions.create(model="nope", messages=[{"role": "user", "content": "x"}])
    assert refused.value.body["code"] == "UnknownModel"
    assert "smollm2" in refused.value.body["message"]


def test_bad_request_of_the_engine_reaches_the_client(sim_deck):
    with pytest.raises(openai.BadRequestError):
        client_of(sim_deck).chat.completions.create(model="sim-8b", messages="not a list", max_tokens=5)


def test_cancelling_a_stream_stops_the_engine(sim_deck):
    def running():
        total = 0
        for replica in sim_deck.ready("sim-8b"):
            text = requests.get(f"http://127.0.0.1:{replica['port']}/metrics", timeout=5).text
            total += sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                         if line.startswith("vllm:num_requests_running"))
        return total

    stream = client_of(sim_deck).chat.completions.create(
        model="sim-8b", max_tokens=20000, stream=True, messages=[{"role": "user", "content": "Write without end."}],
        extra_body={"ignore_eos": True})
    next(iter(stream))
    assert running() == 1
    stream.close()
    wait_for(lambda: running() == 0, 2, "the engine stops within seconds of the client's cancel")
