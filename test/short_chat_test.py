"""Short chats through the gateway: each stays with the replica that holds its past, new ones use both replicas."""
import pytest
import requests


def ask(deck, messages):
    answer = requests.post(f"{deck.url}/v1/chat/completions", timeout=60, json={
        "model": "sim-8b", "messages": messages, "max_tokens": 12})
    assert answer.status_code == 200, answer.text
    return answer.headers["x-tweendeck-replica"], answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("first", ["Hi {}", "My name is Bob {}.", "Please tell me {} good reasons to write everything "
                                   "that I have to remember down at once."])
def test_every_turn_of_a_short_chat_meets_its_past(sim_deck, first):
    homes = set()
    for number in range(6):
        messages, replicas = [], []
        for question in (first.format(number), "And now?", "Thanks."):
            messages.append({"role": "user", "content": question})
            replica, text = ask(sim_deck, messages)
            replicas.append(replica)
            messages.append({"role": "assistant", "content": text})
        assert len(set(replicas)) == 1, f"chat {number} went to {replicas}"
        homes.add(replicas[0])
    assert len(homes) == 2, f"all chats went to {homes}"


@pytest.mark.parametrize("system", [None, "You are a helpful assistant."])
def test_new_chats_spread_over_both_replicas(sim_deck, system):
    count = {}
    for number in range(8):
        start = [{"role": "system", "content": system}] if system else []
        replica, _ = ask(sim_deck, [*start, {"role": "user", "content": f"Question {number}?"}])
        count[replica] = count.get(replica, 0) + 1
    assert len(count) == 2 and min(count.values()) >= 3, count
