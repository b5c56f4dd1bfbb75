#!/usr/bin/env python3
"""Starts vLLM's OpenAI server inside a Tweendeck slice: works out its memory and threads, then becomes vLLM.

  server.py --model DIR --model-name NAME --host 127.0.0.1 --port N [key=value ...]

key=value is passed on as --key value (max_model_len=4096 -> --max-model-len 4096); max_in_flight=N sets --max-num-seqs.
The slice comes from the environment (engine/README.md). A refusal goes to the status file and exits with 1.
"""
import argparse
import json
import math
import os
import pathlib
import re
import sys

GIB = 1 << 30
DEFAULT_IN_FLIGHT = {"cpu": 8, "gpu": 256}
USABLE_FRACTION = 0.95         # of the slice; CUDA contexts and fragmentation take the rest
CPU_RUNTIME_BYTES = 2 * GIB    # Python, torch and vLLM itself: 1.5 to 2.5 GB were measured
MIN_CPU_KV_GIB = 1             # VLLM_CPU_KVCACHE_SPACE counts whole GiB


class Refused(Exception):
    def __init__(self, reason, message, hint):
        super().__init__(message)
        self.status = {"reason": reason, "message": message, "hint": hint}


def write_status(status):
    path = os.environ.get("TWEENDECK_STATUS_FILE")
    if path:
        partial = pathlib.Path(f"{path}.partial")
        partial.write_text(json.dumps(status), encoding="utf-8")
        partial.replace(path)


def slice_number(name, kind):
    text = os.environ.get(name, "")
    try:
        value = kind(text)
        if value > 0:
            return value
    except ValueError:
        pass
    raise Refused("InvalidArgument", f"{name} is {text!r}, not a positive number", "start this through tweendeck serve")


def read_config(model):
    try:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused("ModelNotFound", f"{model}/config.json cannot be read: {error.strerror}",
                      "give a model directory in Hugging Face layout") from error
    except ValueError as error:
        raise Refused("ModelCorrupt", f"{model}/config.json is not JSON: {error}", "download the model again") from error
    if not isinstance(config, dict):
        raise Refused("ModelCorrupt", f"{model}/config.json is not a JSON object", "download the model again")
    return config


def weight_bytes(model):
    files = list(model.glob("*.safetensors")) or list(model.glob("*.bin"))
    if not files:
        raise Refused("ModelCorrupt", f"{model} has no *.safetensors or *.bin", "download the model again")
    return sum(file.stat().st_size for file in files)


def too_small(model, needed, memory):
    needed_gib = math.ceil(needed / GIB)
    return Refused("SliceTooSmall", f"{model.name} needs about {needed_gib} GiB, the slice has {memory / GIB:.1f} GiB",
                   f"give it at least --memory {needed_gib}Gi")


def cpu_settings(model, memory, cpus):
    """(environment, options): the KV cache is what weights and runtime leave."""
    weights = weight_bytes(model)
    kv_gib = int((memory * USABLE_FRACTION - weights - CPU_RUNTIME_BYTES) // GIB)
    if kv_gib < MIN_CPU_KV_GIB:
        raise too_small(model, (weights + CPU_RUNTIME_BYTES + MIN_CPU_KV_GIB * GIB) / USABLE_FRACTION, memory)
    threads = max(1, int(cpus + 0.5))
    return {"VLLM_CPU_KVCACHE_SPACE": str(kv_gib), "OMP_NUM_THREADS": str(threads),
            "VLLM_CPU_OMP_THREADS_BIND": "nobind"}, []


def visible_gpu_bytes():
    try:
        import pynvml
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).total
    except Exception as error:  # pynvml raises classes of its own for every NVML code
        raise Refused("DriverMissing", f"NVML does not answer: {error}", "install the NVIDIA driver") from error


def gpu_settings(model, memory, total):
    """vLLM takes a fraction of what it sees: of the slice where the vgpu library shows it, else of the whole GPU."""
    weights = weight_bytes(model)
    usable = memory * USABLE_FRACTION
    if weights >= usable:
        raise too_small(model, (weights + GIB) / USABLE_FRACTION, memory)
    return {}, ["--gpu-memory-utilization", f"{min(usable / total, USABLE_FRACTION):.3f}"]


def parse_engine_args(pairs):
    """(max_in_flight or None, options for vLLM)"""
    in_flight, options = None, []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not re.fullmatch(r"[a-z][a-z0-9_]*", key):
            raise Refused("InvalidArgument", f"engine argument {pair!r} is not key=value", "for example max_model_len=4096")
        if key == "max_in_flight":
            if not value.isdigit() or int(value) == 0:
                raise Refused("InvalidArgument", f"engine argument {pair!r} needs a number of at least 1", "")
            in_flight = int(value)
        else:
            options += ["--" + key.replace("_", "-")] + ([value] if value else [])
    return in_flight, options


def prepare(args):
    """(environment, argv) of vLLM; writes the status on the way."""
    model = pathlib.Path(args.model)
    config = read_config(model)
    memory = slice_number("TWEENDECK_SLICE_MEMORY_BYTES", int)
    cpus = slice_number("TWEENDECK_SLICE_CPUS", float)
    in_flight, options = parse_engine_args(args.engine_args)
    kind = "cpu" if os.environ.get("TWEENDECK_DEVICE_ID", "").startswith("cpu") else "gpu"
    env, sized = cpu_settings(model, memory, cpus) if kind == "cpu" else gpu_settings(model, memory, visible_gpu_bytes())
    in_flight = in_flight or DEFAULT_IN_FLIGHT[kind]
    write_status({"max_in_flight": in_flight, "context_tokens": config.get("max_position_embeddings", 0)})
    argv = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model),
            "--served-model-name", args.model_name, "--host", args.host, "--port", str(args.port),
            "--max-num-seqs", str(in_flight), *sized, *options]
    return env, argv


def main():
    parser = argparse.ArgumentParser(description="Start vLLM inside a Tweendeck slice")
    parser.add_argument("--model", required=True)
    parser.add_argument("--model-name", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("engine_args", nargs="*", metavar="key=value")
    try:
        env, argv = prepare(parser.parse_args())
    except Refused as error:
        write_status(error.status)
        print(f"Refused: {error} [{error.status['reason']}]", file=sys.stderr)
        return 1
    print(f"Starting {' '.join(argv)} with {env}", file=sys.stderr, flush=True)
    os.execve(argv[0], argv, os.environ | env)


if __name__ == "__main__":
    sys.exit(main())
