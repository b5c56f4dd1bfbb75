"""Sizes llama.cpp for a slice: pure arithmetic, no llama.cpp needed. The formula is in README.md, "Sizing".

Every byte that the server can come to hold is counted, so that a full server stays inside its slice.
"""
import dataclasses
import math

MIB = 1 << 20
RUNTIME_BYTES = 80 * MIB         # Python, llama.cpp's code, tokenizer, threads: measured 64 MiB with SmolLM2
HEADROOM_FRACTION = 0.05         # of the slice, for the allocator and the kernel's own pages
PROMPT_CACHE_FRACTION = 0.25     # of what is left after weights and buffers
MIN_PROMPT_CACHE_MIB = 16        # a smaller prompt cache is not worth its copies
MAX_PROMPT_CACHE_MIB = 8192      # llama.cpp's own default
MIN_CONTEXT = 512
GOOD_CONTEXT = 2048              # slots are given up before the context falls below this
MAX_CONTEXT = 32768              # per slot, unless `context=` asks for more
CONTEXT_STEP = 256               # llama.cpp pads to this
MAX_SLOTS = 16                   # unless `slots=` asks for more
UBATCHES = (512, 256, 128, 64)   # tokens computed at once; also the longest embedding input
UBATCH_SHARE = 8                 # the compute buffer takes at most 1/8 of the slice, if a smaller batch allows it


class SliceTooSmall(Exception):
    def __init__(self, message, needed_bytes):
        super().__init__(message)
        self.needed_bytes = needed_bytes


@dataclasses.dataclass(frozen=True)
class Wish:
    """What the user fixed by engine arguments; None = derive it."""
    slots: int | None = None
    context: int | None = None           # tokens of all slots together, as llama.cpp's -c
    threads: int | None = None
    prompt_cache_mib: int | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    threads: int                         # for one token at a time
    batch_threads: int                   # for prompts, and for the tokens of several requests at once
    slots: int
    context: int                         # tokens per slot
    ubatch: int
    prompt_cache_mib: int
    total_bytes: int                     # what all of it needs, headroom not included


def compute_bytes(model, ubatch, context):
    """llama.cpp's compute buffer: logits of every token of a batch, activations, attention mask (all f32)."""
    return 4 * ubatch * (model.vocabulary + 4 * max(model.feed_forward, model.embedding) + context)


def _fixed_bytes(model, ubatch, context):
    return model.weight_bytes + RUNTIME_BYTES + compute_bytes(model, ubatch, context)


def _total_bytes(model, ubatch, slots, context, cache_mib):
    # llama.cpp trims its prompt cache only after a conversation's state was added: one slot more than its limit.
    kv_slots = slots + (1 if cache_mib else 0)
    return _fixed_bytes(model, ubatch, context) + kv_slots * context * model.kv_bytes_per_token + cache_mib * MIB


def _pick_cache(left):
    mib = min(int(left * PROMPT_CACHE_FRACTION) // MIB, MAX_PROMPT_CACHE_MIB)
    return mib if mib >= MIN_PROMPT_CACHE_MIB else 0


def _pick_kv(model, left, threads, cache_mib, wish, least):
    """(slots, context per slot) that use up what the prompt cache leaves."""
    kv_bytes = max(0, left - cache_mib * MIB)
    per_token = max(model.kv_bytes_per_token, 1)
    slots = wish.slots
    if slots is None:
        per_slot = min(GOOD_CONTEXT, model.context_tokens)
        fits = (wish.context or kv_bytes // per_token) // per_slot - (bool(cache_mib) and wish.context is None)
        slots = max(1, min(2 * threads, MAX_SLOTS, fits))
    if wish.context is not None:
        return slots, -(-wish.context // slots)
    fits = min(kv_bytes // (slots + bool(cache_mib)) // per_token, model.context_tokens, MAX_CONTEXT)
    return slots, max(least, fits // CONTEXT_STEP * CONTEXT_STEP)


def _pick_threads(cpus, wish):
    """(for generation, for batches). README.md, "Threads", has the measurement."""
    if wish.threads:
        return wish.threads, wish.threads
    return max(1, int(cpus + 0.5)), max(1, math.ceil(cpus))


def _attempt(model, usable, cpus, ubatch, wish):
    """The best Plan with this batch size, whether it fits or not."""
    threads, batch_threads = _pick_threads(cpus, wish)
    least = min(MIN_CONTEXT, model.context_tokens)
    longest = wish.context or min(MAX_CONTEXT, model.context_tokens)
    left = max(0, usable - _fixed_bytes(model, ubatch, longest))
    cache_mib = _pick_cache(left) if wish.prompt_cache_mib is None else wish.prompt_cache_mib
    slots, context = _pick_kv(model, left, threads, cache_mib, wish, least)
    total = _total_bytes(model, ubatch, slots, context, cache_mib)
    if wish.prompt_cache_mib is None and (total > usable or context < min(GOOD_CONTEXT, longest)):
        cache_mib = 0  # context is worth more
        slots, context = _pick_kv(model, left, threads, cache_mib, wish, least)
        total = _total_bytes(model, ubatch, slots, context, cache_mib)
    return Plan(threads, batch_threads, slots, context, _multiple_of(slots, ubatch), cache_mib, total)


def make(model, slice_bytes, cpus, wish=Wish()):
    """The Plan for `model` in a slice. Raises SliceTooSmall, whose needed_bytes is enough."""
    usable = int(slice_bytes * (1 - HEADROOM_FRACTION))
    for size in UBATCHES:
        ubatch = _multiple_of(wish.slots, size)
        plan = _attempt(model, usable, cpus, ubatch, wish)
        roomy = compute_bytes(model, ubatch, plan.context) <= slice_bytes // UBATCH_SHARE
        if plan.total_bytes <= usable and (roomy or size == UBATCHES[-1]):
            return plan
    kv_bytes = plan.total_bytes - _fixed_bytes(model, plan.ubatch, plan.context) - plan.prompt_cache_mib * MIB
    raise SliceTooSmall(
        f"weights {_mib(model.weight_bytes)}, runtime {_mib(RUNTIME_BYTES)}, compute buffer "
        f"{_mib(compute_bytes(model, plan.ubatch, plan.context))}, KV cache of {plan.slots} slot(s) with "
        f"{plan.context} tokens {_mib(kv_bytes)}, prompt cache {plan.prompt_cache_mib} MiB",
        math.ceil(plan.total_bytes / (1 - HEADROOM_FRACTION)) + 1)


def _multiple_of(slots, ubatch):
    """llama.cpp's mean pooling needs the same number of tokens from every slot in a full batch, else it aborts."""
    slots = slots or 1
    return max(slots, ubatch // slots * slots)


def _mib(size):
    return f"{-(-size // MIB)} MiB"
