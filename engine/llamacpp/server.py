#!/usr/bin/env python3
"""Serves one GGUF model with llama.cpp inside a Tweendeck slice.

  server.py --model FILE --model-name NAME --host 127.0.0.1 --port N [key=value ...]

The slice comes from the environment (engine/README.md); README.md lists the keys. Answers OpenAI's API until SIGTERM
or SIGINT, then exits at once: draining is the gateway's work. A refusal goes to the status file and exits with 1.
"""
import argparse
import json
import os
import pathlib
import signal
import sys

import gguf
import plan

EXIT_REFUSED = 1
# llama.cpp reuses the slot whose cached prompt covers more than this part of the new one. Its default of 0.1 lets the
# system prompt that all conversations share steal another conversation's slot; a follow-up turn is far above 0.5.
SLOT_SIMILARITY = 0.5
# A waiting request, an open stream and an idle keep-alive connection hold one HTTP thread each.
SPARE_HTTP_THREADS = 64
LIMITS = {"slots": 256, "context": 1 << 20, "threads": 1024, "prompt_cache_mib": 1 << 20, "max_in_flight": 4096}


class Refused(Exception):
    def __init__(self, reason, message, hint):
        super().__init__(message)
        self.status = {"reason": reason, "message": message, "hint": hint}


def write_status(status):
    """Atomically, so that a reader never sees half of it."""
    path = os.environ.get("TWEENDECK_STATUS_FILE")
    if not path:
        return
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
    raise Refused("InvalidArgument", f"{name} is {text!r}, not a positive number",
                  "start this server through tweendeck serve, or set the environment of engine/README.md")


def parse_engine_args(pairs):
    """["slots=9", "context=2048"] -> {"slots": 9, "context": 2048}"""
    values = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        if key not in LIMITS:
            raise Refused("InvalidArgument", f"engine argument {pair!r} is not known",
                          f"known are {', '.join(f'{known}=N' for known in LIMITS)}")
        if not text.isascii() or not text.isdigit() or int(text) > LIMITS[key]:
            raise Refused("InvalidArgument", f"engine argument {pair!r} needs a whole number up to {LIMITS[key]}", "")
        if int(text) == 0 and key != "prompt_cache_mib":
            raise Refused("InvalidArgument", f"engine argument {pair!r} must be at least 1", "")
        values[key] = int(text)
    return values


def read_model(path):
    try:
        return gguf.read(path)
    except (gguf.Corrupt, ValueError) as error:
        raise Refused("ModelCorrupt", f"{path} is not a usable GGUF model: {error}",
                      "download the file again and compare its checksum") from error
    except OSError as error:
        raise Refused("ModelNotFound", f"{path} cannot be read: {error.strerror}", "check the path and its permissions") \
            from error


def make_plan(path, model, values):
    memory = slice_number("TWEENDECK_SLICE_MEMORY_BYTES", int)
    cpus = slice_number("TWEENDECK_SLICE_CPUS", float)
    wish = plan.Wish(**{key: value for key, value in values.items() if key != "max_in_flight"})
    try:
        return plan.make(model, memory, cpus, wish)
    except plan.SliceTooSmall as error:
        needed_mib = -(-error.needed_bytes // plan.MIB)
        raise Refused("SliceTooSmall",
                      f"{os.path.basename(path)} needs {needed_mib} MiB ({error}, 5% headroom), "
                      f"the slice has {memory // plan.MIB} MiB",
                      f"give it at least --memory {needed_mib}Mi, or ask for fewer slots or less context") from error


def parameters(xllamacpp, args, sizes):
    p = xllamacpp.CommonParams()
    p.model.path = args.model
    p.model_alias = {args.model_name}
    p.hostnames = [args.host]
    p.port = args.port
    p.n_parallel = sizes.slots
    p.n_ctx = sizes.slots * sizes.context  # llama.cpp shares it out evenly
    p.kv_unified = False                   # a slot of one's own: no other conversation can push it out
    p.n_batch = p.n_ubatch = sizes.ubatch
    p.cache_ram_mib = sizes.prompt_cache_mib
    p.slot_prompt_similarity = SLOT_SIMILARITY
    p.cpuparams.n_threads = sizes.threads
    p.cpuparams_batch.n_threads = sizes.batch_threads
    p.n_threads_http = sizes.slots + SPARE_HTTP_THREADS
    p.embedding = True                     # beside chat; mean pooling is what OpenAI's endpoint can answer with
    p.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    p.check_tensors = True                 # damaged weights are refused instead of talking nonsense
    p.fit_params = False                   # the plan has decided
    p.endpoint_metrics = p.endpoint_slots = True
    p.ui = False
    p.n_gpu_layers = 0
    return p


def start(args, values):
    model = read_model(args.model)
    sizes = make_plan(args.model, model, values)
    print(f"Planned {sizes}", file=sys.stderr, flush=True)
    try:
        import xllamacpp
    except ImportError as error:
        raise Refused("EngineNotInstalled", f"the Python module xllamacpp is missing: {error}",
                      "run scripts/setup, or pip install xllamacpp") from error
    try:
        server = xllamacpp.Server(parameters(xllamacpp, args, sizes))
    except Exception as error:  # xllamacpp raises whatever llama.cpp threw
        raise Refused("ModelCorrupt", f"llama.cpp refused {args.model}: {error}",
                      "its log above says why; download the file again, or update xllamacpp for a new architecture") \
            from error
    write_status({"max_in_flight": values.get("max_in_flight", sizes.slots), "context_tokens": sizes.context,
                  "slots": sizes.slots, "threads": sizes.threads, "batch_threads": sizes.batch_threads,
                  "prompt_cache_mib": sizes.prompt_cache_mib,
                  "memory_planned_bytes": sizes.total_bytes})
    print(f"Serving {args.model_name} on {server.listening_address}", file=sys.stderr, flush=True)
    return server


def main():
    parser = argparse.ArgumentParser(description="Serve one GGUF model with llama.cpp inside a Tweendeck slice")
    parser.add_argument("--model", required=True)
    parser.add_argument("--model-name", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("engine_args", nargs="*", metavar="key=value")
    args = parser.parse_args()
    stops = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)  # inherited by llama.cpp's threads; sigwait below takes them
    try:
        server = start(args, parse_engine_args(args.engine_args))  # serves as long as it is referred to
    except Refused as error:
        write_status(error.status)
        print(f"Refused: {error} [{error.status['reason']}]", file=sys.stderr)
        return EXIT_REFUSED
    signal.sigwait(stops)
    print(f"Stopping {server.listening_address}", file=sys.stderr, flush=True)
    os._exit(0)  # the server's destructor would wait for open streams to end by themselves


if __name__ == "__main__":
    sys.exit(main())
