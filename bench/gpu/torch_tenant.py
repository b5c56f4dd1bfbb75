"""A PyTorch program as the GPU suite's tenant: torch_tenant.py STEP... where STEP is NAME:SECONDS.

matmul: products of large matrices. decode: a small model's step as a CUDA graph, one token after another. churn: tensors of
random sizes through the caching allocator, emptied now and then. limit: takes memory until it is refused. One JSON object per step.
"""
import json
import random
import sys
import time

import torch

SIZE, BATCH = 4096, 8
LAYERS, WIDTH, TOKENS = 16, 2048, 8
PIECE_BYTES = 64 << 20
CHURN_LIVE = 64
WARM = 3


def repeat(seconds, once, per_call):
    """Calls per second, times what one does; after a warm-up, with the device idle at both ends."""
    for _ in range(WARM):
        once()
    torch.cuda.synchronize()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        once()
        count += 1
    torch.cuda.synchronize()
    return count * per_call / (time.perf_counter() - began)


def matmul(seconds):
    left, right = (torch.randn(SIZE, SIZE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(left)

    def once():
        for _ in range(BATCH):
            torch.matmul(left, right, out=out)
        torch.cuda.synchronize()

    return repeat(seconds, once, BATCH)


def decode(seconds):
    weights = [torch.randn(WIDTH, WIDTH, device="cuda", dtype=torch.bfloat16) / WIDTH ** 0.5 for _ in range(4)]
    state = torch.randn(TOKENS, WIDTH, device="cuda", dtype=torch.bfloat16)

    def step():
        x = state
        for _ in range(LAYERS):
            query, key, value, out = (x @ weight for weight in weights)
            x = torch.nn.functional.layer_norm(x + torch.softmax(query * key, -1) * value + out, (WIDTH,))
        return x

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(WARM):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def once():
        graph.replay()
        torch.cuda.synchronize()

    return repeat(seconds, once, 1)


def churn(seconds):
    live, turns = [], random.Random(1)

    def once():
        for _ in range(CHURN_LIVE):
            if len(live) >= CHURN_LIVE:
                live.pop(turns.randrange(len(live)))
            live.append(torch.empty(turns.randrange(1 << 10, 8 << 20), device="cuda", dtype=torch.uint8))
        if turns.random() < 0.1:
            live.clear()
            torch.cuda.empty_cache()

    return repeat(seconds, once, CHURN_LIVE)


def limit(_):
    held = []
    try:
        while True:
            held.append(torch.empty(PIECE_BYTES, device="cuda", dtype=torch.uint8))
    except torch.cuda.OutOfMemoryError:
        pass
    free, total = torch.cuda.mem_get_info()
    return {"held_bytes": len(held) * PIECE_BYTES, "free_bytes": free, "total_bytes": total}


def main():
    torch.cuda.init()
    for step in sys.argv[1:]:
        name, _, seconds = step.partition(":")
        result = {"matmul": matmul, "decode": decode, "churn": churn, "limit": limit}[name](float(seconds or 0))
        print(json.dumps({"step": name, **(result if isinstance(result, dict) else {"rate": result})}), flush=True)
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
