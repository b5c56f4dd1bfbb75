"""How engine/vllm turns a slice into vLLM's settings. vLLM itself is not started."""
import argparse
import importlib.util
import json

import pytest

from engine_harness import ROOT

SPEC = importlib.util.spec_from_file_location("vllm_engine", ROOT / "engine" / "vllm" / "server.py")
server = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(server)
GIB = server.GIB


@pytest.fixture
def model(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 4096}))
    with open(tmp_path / "model.safetensors", "wb") as file:
        file.truncate(3 * GIB)  # sparse
    return tmp_path


def test_cpu_memory_goes_to_the_kv_cache(model):
    env, options = server.cpu_settings(model, 10 * GIB, 2.4)
    assert env["VLLM_CPU_KVCACHE_SPACE"] == "4" and env["OMP_NUM_THREADS"] == "2" and options == []
    with pytest.raises(server.Refused) as refused:
        server.cpu_settings(model, 6 * GIB, 1)
    assert refused.value.status["reason"] == "SliceTooSmall" and "--memory 7Gi" in refused.value.status["hint"]
    server.cpu_settings(model, 7 * GIB, 1)


@pytest.mark.parametrize("slice_gib,seen_gib,fraction", [(40, 80, "0.475"), (40, 40, "0.950"), (80, 40, "0.950")])
def test_gpu_memory_is_a_fraction_of_what_vllm_sees(model, slice_gib, seen_gib, fraction):
    assert server.gpu_settings(model, slice_gib * GIB, seen_gib * GIB)[1] == ["--gpu-memory-utilization", fraction]


def test_a_slice_smaller_than_the_weights_is_refused(model):
    with pytest.raises(server.Refused):
        server.gpu_settings(model, 3 * GIB, 80 * GIB)


def test_the_command_and_its_status(model, monkeypatch, tmp_path):
    for name, value in {"TWEENDECK_SLICE_MEMORY_BYTES": str(10 * GIB), "TWEENDECK_SLICE_CPUS": "1.00",
                        "TWEENDECK_DEVICE_ID": "cpu0", "TWEENDECK_STATUS_FILE": str(tmp_path / "status")}.items():
        monkeypatch.setenv(name, value)
    args = argparse.Namespace(model=str(model), model_name="chat", host="127.0.0.1", port=9000,
                              engine_args=["max_in_flight=4", "max_model_len=2048", "enforce_eager="])
    argv = server.prepare(args)[1]
    assert argv[argv.index("--max-num-seqs") + 1] == "4"
    assert argv[-3:] == ["--max-model-len", "2048", "--enforce-eager"]
    assert json.loads((tmp_path / "status").read_text()) == {"max_in_flight": 4, "context_tokens": 4096}


@pytest.mark.parametrize("argument", ["--gpu", "max_in_flight=0", "x", "=1"])
def test_bad_arguments(argument):
    with pytest.raises(server.Refused):
        server.parse_engine_args([argument])


def test_a_directory_without_a_model(tmp_path):
    with pytest.raises(server.Refused) as refused:
        server.read_config(tmp_path)
    assert refused.value.status["reason"] == "ModelNotFound"
