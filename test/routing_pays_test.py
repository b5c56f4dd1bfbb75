"""Prefix affinity against round robin on the real engine, and the trace bench on simulated replicas."""
import json
import os
import pathlib

import pytest

ROUTING_ARGS = ["--conversations", "9", "--turns", "6", "--output-tokens", "128"]


def conversations(make_deck, policy):
    deck = make_deck("--policy", policy).start()
    deck.run("serve", "smollm2", "--replicas", "2", "--memory", "3Gi", "--compute", "50", "--max-in-flight", "1",
             "--engine-arg", "slots=9", "--engine-arg", "context=18432")
    result = deck.json("bench", "smollm2", *ROUTING_ARGS, timeout=1500)
    deck.down()
    return result


@pytest.mark.slow
def test_prefix_affinity_beats_round_robin_on_llama_cpp(make_deck):
    affinity = conversations(make_deck, "prefix")
    rotation = conversations(make_deck, "round-robin")
    print(json.dumps({"prefix": affinity, "round-robin": rotation}))
    ttft = rotation["followup_ttft_ms"]["p50"] / affinity["followup_ttft_ms"]["p50"]
    recomputed = rotation["recomputed_prompt_tokens"] / affinity["recomputed_prompt_tokens"]
    print(f"follow-up ttft p50 {ttft:.1f}x lower, recomputed prompt tokens {recomputed:.1f}x fewer")
    # The targets are 3x and 4x on a quiet machine (bench/results); a test on a shared one only guards the direction.
    assert ttft >= 2
    assert recomputed >= 3


def test_trace_bench_prints_its_table(make_deck):
    data = pathlib.Path(os.environ.get("TWEENDECK_DATA", "../shared/data"))
    trace = data / "llm" / "mooncake_conversation_trace.jsonl"
    if not trace.exists():
        pytest.skip("TWEENDECK_DATA has no llm/mooncake_conversation_trace.jsonl")
    deck = make_deck("--soft-gpus", "2:H100-80G").start()
    deck.run("serve", "sim-8b", "--replicas", "2", "--memory", "40Gi", "--compute", "50", "--device", "soft")
    deck.run("serve", "sim-3b", "--replicas", "1", "--memory", "30Gi", "--compute", "40", "--device", "soft")
    table = deck.run("bench", "sim-8b", "sim-3b", "--trace", trace, "--speed", "20", "--limit", "40", timeout=300).stdout
    for word in ("ttft", "tpot", "e2e", "p50", "p99", "prefix", "sim-8b-1", "simulated"):
        assert word in table.lower(), table
