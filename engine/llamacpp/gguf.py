"""Reads what sizing needs from the header of a GGUF file, and refuses files that are damaged.

Only the header is read (through mmap); weights stay untouched. Raises Corrupt with the byte position and the cause.
Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3.
"""
import dataclasses
import mmap
import struct

MAX_STRING_BYTES = 1 << 24
MAX_ENTRIES = 1 << 20
MAX_ARRAY_DEPTH = 4

STRING, ARRAY = 8, 9
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}

# ggml tensor type -> (elements per block, bytes per block). A type that is not listed has no size check.
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17),
}


class Corrupt(Exception):
    """The file is not a usable GGUF file."""


@dataclasses.dataclass(frozen=True)
class Model:
    architecture: str
    weight_bytes: int        # the whole file: all of it is mapped
    context_tokens: int      # what the model was trained for
    kv_bytes_per_token: int  # keys and values of all layers as f16
    vocabulary: int
    embedding: int
    feed_forward: int


class _Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def scalar(self, layout):
        size = struct.calcsize(layout)
        if self.at + size > len(self.data):
            raise Corrupt(f"the header ends at byte {len(self.data)} in the middle of a value")
        value = struct.unpack_from(layout, self.data, self.at)[0]
        self.at += size
        return value

    def string(self):
        start = self.at
        size = self.scalar("<Q")
        if size > MAX_STRING_BYTES or self.at + size > len(self.data):
            raise Corrupt(f"the string at byte {start} claims {size} bytes")
        value = self.data[self.at:self.at + size]
        self.at += size
        return value.decode("utf-8", "replace")

    def count(self, what, limit):
        start = self.at
        value = self.scalar("<Q")
        if value > limit:
            raise Corrupt(f"the header claims {value} {what} at byte {start}")
        return value

    def value(self, kind, depth=0):
        if kind in SCALARS:
            return self.scalar(SCALARS[kind])
        if kind == STRING:
            return self.string()
        if kind != ARRAY or depth >= MAX_ARRAY_DEPTH:
            raise Corrupt(f"byte {self.at} holds the unknown value type {kind}")
        item = self.scalar("<I")
        length = self.count("array items", len(self.data))
        if item in SCALARS:
            return self.fixed_array(SCALARS[item], length)
        return [self.value(item, depth + 1) for _ in range(length)]

    def fixed_array(self, layout, length):
        layout = f"<{length}{layout[1]}"
        size = struct.calcsize(layout)
        if self.at + size > len(self.data):
            raise Corrupt(f"the array at byte {self.at} claims {length} items")
        values = struct.unpack_from(layout, self.data, self.at)
        self.at += size
        return list(values)


def _metadata(reader, count):
    fields = {}
    for _ in range(count):
        key = reader.string()
        fields[key] = reader.value(reader.scalar("<I"))
    return fields


def _tensor_data_bytes(reader, count):
    """How many bytes of tensor data the header promises."""
    end = 0
    for _ in range(count):
        name = reader.string()
        dimensions = reader.scalar("<I")
        if dimensions > 8:
            raise Corrupt(f"tensor {name!r} claims {dimensions} dimensions")
        elements = 1
        for _ in range(dimensions):
            elements *= reader.scalar("<Q")
        kind = reader.scalar("<I")
        offset = reader.scalar("<Q")
        per_block, block_bytes = BLOCKS.get(kind, (1, 0))
        end = max(end, offset + elements // per_block * block_bytes)
    return end


def _number(fields, key, default=None):
    value = fields.get(key, default)
    if isinstance(value, list):  # one value per layer: the largest is the safe one
        value = max(value, default=None)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Corrupt(f"the header has no usable value for {key}")
    return value


def _describe(fields, size):
    architecture = fields.get("general.architecture")
    if not isinstance(architecture, str):
        raise Corrupt("the header has no general.architecture")
    if fields.get("split.count", 1) not in (0, 1):
        raise Corrupt("this is one part of a split model; merge it with llama-gguf-split --merge first")

    def number(key, default=None):
        return _number(fields, f"{architecture}.{key}", default)

    embedding = number("embedding_length")
    heads = number("attention.head_count", 0)
    if embedding == 0 or heads > embedding:
        raise Corrupt(f"{heads} attention heads over an embedding of {embedding} make no model")
    head_size = embedding // heads if heads else 0
    layers = number("block_count")
    kv_heads = number("attention.head_count_kv", heads)
    width = number("attention.key_length", head_size) + number("attention.value_length", head_size)
    tokens = fields.get("tokenizer.ggml.tokens")
    return Model(
        architecture=architecture,
        weight_bytes=size,
        context_tokens=number("context_length"),
        kv_bytes_per_token=2 * layers * kv_heads * width,
        vocabulary=len(tokens) if isinstance(tokens, list) else number("vocab_size", 0),
        embedding=embedding,
        feed_forward=number("feed_forward_length", 4 * embedding))


def read(path):
    """The Model in the file at `path`. Raises Corrupt, or OSError when it cannot be read."""
    with open(path, "rb") as file:
        if file.read(4) != b"GGUF":
            raise Corrupt("it does not start with the letters GGUF")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _read(data)


def _read(data):
    reader = _Reader(data)
    reader.at = 4
    version = reader.scalar("<I")
    if version not in (2, 3):
        raise Corrupt(f"GGUF version {version} is not known (2 and 3 are)")
    tensors = reader.count("tensors", MAX_ENTRIES)
    entries = reader.count("metadata entries", MAX_ENTRIES)
    fields = _metadata(reader, entries)
    data_bytes = _tensor_data_bytes(reader, tensors)
    alignment = fields.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
        raise Corrupt(f"an alignment of {alignment} bytes is not usable")
    start = (reader.at + alignment - 1) // alignment * alignment
    if start + data_bytes > len(data):
        raise Corrupt(f"it is truncated: {len(data)} bytes are here, its tensors need {start + data_bytes}")
    return _describe(fields, len(data))
