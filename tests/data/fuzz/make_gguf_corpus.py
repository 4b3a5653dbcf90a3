#!/usr/bin/env python3
"""Writes the seed corpus of the GGUF fuzz target: tiny files (below 4 KiB) that reach different parts of the reader.

Usage: make_gguf_corpus.py FOLDER. Output is the same on every run.
"""
import pathlib
import struct
import sys

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
PACK = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<B", U64: "<Q", I64: "<q", F64: "<d"}


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def scalar(kind, value):
    return text(value) if kind == STRING else struct.pack(PACK[kind], value)


def entry(key, kind, value):
    return text(key) + struct.pack("<I", kind) + scalar(kind, value)


def array(key, kind, values):
    return text(key) + struct.pack("<IIQ", ARRAY, kind, len(values)) + b"".join(scalar(kind, v) for v in values)


def tensor(name, dims, kind, offset):
    return text(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims) + struct.pack("<IQ", kind, offset)


def build(entries, tensors, data_bytes=0, version=3, alignment=32):
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join(entries) + b"".join(tensors)
    padding = -len(head) % alignment if data_bytes else 0
    return head + b"\0" * (padding + data_bytes)


def model(arch, layers=1, experts=0, tied=True, extra=(), version=3, kind=0, row_bytes=128):
    """A model of width 32; rows of 32 elements take row_bytes in tensor type `kind`."""
    p = arch + "."
    entries = [entry("general.architecture", STRING, arch), entry(p + "block_count", U32, layers),
               entry(p + "embedding_length", U32, 32), entry(p + "context_length", U32, 64),
               entry(p + "attention.head_count", U32, 4), *extra]
    if experts:
        entries += [entry(p + "expert_count", U32, experts), entry(p + "expert_used_count", U32, 1)]
    tensors, offset = [], 0

    def add(name, rows, more=()):
        nonlocal offset
        count = rows
        for d in more:
            count *= d
        tensors.append(tensor(name, [32, rows, *more], kind, offset))
        offset += -(-count * row_bytes // 32) * 32

    add("token_embd.weight", 2)
    if not tied:
        add("output.weight", 2)
    add("output_norm.weight", 1)
    for layer in range(layers):
        b = f"blk.{layer}."
        add(b + "attn_q.weight", 1)
        if experts:
            add(b + "ffn_gate_inp.weight", experts)
            add(b + "ffn_up_exps.weight", 1, [experts])
        else:
            add(b + "ffn_up.weight", 1)
    return build(entries, tensors, offset, version)


CORPUS = {
    "empty_v3": build([], []),
    "every_value": build([entry("a", U8, 1), entry("b", I8, -1), entry("c", U16, 2), entry("d", I16, -2), entry("e", U32, 3),
                          entry("f", I32, -3), entry("g", F32, 0.5), entry("h", BOOL, 1), entry("i", STRING, "text"),
                          entry("j", U64, 4), entry("k", I64, -4), entry("l", F64, 0.25), array("m", STRING, ["x", "", "yz"]),
                          array("n", BOOL, [0, 1]), array("o", F32, [1, 2]), array("p", U8, [1, 2, 3]), array("q", I64, [])], []),
    "llama_v2": model("llama", version=2),
    "llama_two_layers": model("llama", layers=2, tied=False),
    "llama_kv_per_layer": model("llama", layers=2, extra=[array("llama.attention.head_count_kv", I32, [4, 1])]),
    "qwen3moe": model("qwen3moe", experts=2),
    "deepseek2_mla": model("deepseek2", extra=[entry("deepseek2.attention.key_length", U32, 12),
                                               entry("deepseek2.attention.value_length", U32, 8),
                                               entry("deepseek2.attention.key_length_mla", U32, 6)]),
    "glm4moe_nextn": model("glm4moe", layers=2, extra=[entry("glm4moe.nextn_predict_layers", U32, 1)]),
    "llama_q4_0": model("llama", kind=2, row_bytes=18),
    "alignment_64": build([entry("general.alignment", U32, 64)], [tensor("t", [32], 0, 0), tensor("u", [32], 1, 128)], 192,
                          alignment=64),
    "split_part": build([entry("split.no", U16, 0), entry("split.count", U16, 2), entry("split.tensors.count", I32, 1)],
                        [tensor("t", [32], 0, 0)], 128),
    "big_endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "overlap": build([], [tensor("a", [32], 0, 0), tensor("b", [32], 0, 32)], 256),
    "nested_array": build([text("k") + struct.pack("<IIQ", ARRAY, ARRAY, 1) + struct.pack("<IQ", U32, 0)], []),
}

if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in CORPUS.items():
        assert len(data) < 4096, (name, len(data))
        (folder / name).write_bytes(data)
