"""Writes tiny encoder models as GGUF files, and what they say, computed here in f64.

    make_encoders.py FOLDER

Weights come from a counter through a hash, so that they are the same everywhere. For each NAME.gguf there is a NAME.json: {"cases":
[{"ids", "types", "hidden" ([T, D], flat), "score"}]}. The BERT models are also held to golden.json, which make_golden.py had from
transformers.
"""

import json
import math
import pathlib
import sys

import gguf
import numpy as np

WIDTH, HEADS, LAYERS, CONTEXT = 64, 4, 3, 64
EPSILON = 1e-12
PIECES = ("the cat sat on mat a dog ran in rain sun un happy play run walk talk good bad big small 1 2 3 . , ! ? - ( ) river bank water "
          "money boat tree ##s ##ing ##ed ##er ##ly ##ness ##able cafe ano 大 世 界 ß ä").split()
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
MODELS = {
    "bert": {"arch": "bert", "ffn": 96, "types": 2, "pooling": gguf.PoolingType.CLS},
    "bert-reranker": {"arch": "bert", "ffn": 96, "types": 2, "pooling": gguf.PoolingType.RANK, "head": True},
    "nomic-bert": {"arch": "nomic-bert", "ffn": 80, "types": 2, "pooling": gguf.PoolingType.MEAN},
    "modern-bert": {"arch": "modern-bert", "ffn": 88, "types": 0, "pooling": gguf.PoolingType.CLS, "window": 16},
    "gemma-embedding": {"arch": "gemma-embedding", "ffn": 88, "types": 0, "pooling": gguf.PoolingType.MEAN, "window": 8, "layers": 7,
                        "kv_heads": 2, "hidden": 96},
    "jina-bert-v2": {"arch": "jina-bert-v2", "ffn": 72, "types": 2, "pooling": gguf.PoolingType.MEAN},
}


def vocabulary():
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += list(LETTERS) + ["##" + letter for letter in LETTERS]
    return tokens + [piece for piece in PIECES if piece not in tokens]


def spread(name, *shape, scale=1.0, center=0.0):
    """Numbers between center - scale and center + scale, each with 24 bits."""
    seed = sum((i + 1) * byte for i, byte in enumerate(name.encode())) * 1000003
    x = np.arange(seed, seed + math.prod(shape), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for shift, factor in ((29, 0x9E3779B97F4A7C15), (32, 0xBF58476D1CE4E5B9), (30, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    unit = (x >> np.uint64(40)).astype(np.float64) / 2**24
    return (center + scale * (2 * unit - 1)).astype(np.float32).reshape(shape)


def tensors(name, model):
    """Tensors by their GGUF names, [out, in]."""
    vocab = len(vocabulary())
    t = {}

    def matrix(key, rows, cols, bias):
        t[key + ".weight"] = spread(name + key, rows, cols, scale=2 / math.sqrt(cols))
        if bias:
            t[key + ".bias"] = spread(name + key + "b", rows, scale=0.3)

    def norm(key):
        t[key + ".weight"] = spread(name + key, WIDTH, scale=0.3, center=1)
        if model["arch"] not in ("modern-bert", "gemma-embedding"):
            t[key + ".bias"] = spread(name + key + "b", WIDTH, scale=0.2)

    t["token_embd.weight"] = spread(name + "tok", vocab, WIDTH)
    if model["types"]:
        t["token_types.weight"] = spread(name + "types", model["types"], WIDTH)
    if model["arch"] == "bert":
        t["position_embd.weight"] = spread(name + "pos", CONTEXT, WIDTH)
    if model["arch"] == "gemma-embedding":
        for layer in range(model["layers"]):
            b = f"blk.{layer}."
            for key in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
                norm(b + key)
            matrix(b + "attn_q", WIDTH, WIDTH, False)
            for part in "kv":
                matrix(b + "attn_" + part, WIDTH // HEADS * model["kv_heads"], WIDTH, False)
            for part in "qk":
                t[b + f"attn_{part}_norm.weight"] = spread(name + b + part, WIDTH // HEADS, scale=0.3, center=1)
            matrix(b + "attn_output", WIDTH, WIDTH, False)
            matrix(b + "ffn_gate", model["ffn"], WIDTH, False)
            matrix(b + "ffn_up", model["ffn"], WIDTH, False)
            matrix(b + "ffn_down", WIDTH, model["ffn"], False)
        norm("output_norm")
        matrix("dense_2", model["hidden"], WIDTH, False)
        matrix("dense_3", WIDTH, model["hidden"], False)
        return t
    norm("token_embd_norm")
    for layer in range(LAYERS):
        b = f"blk.{layer}."
        if model["arch"] == "modern-bert":
            if layer > 0:
                norm(b + "attn_norm")
            matrix(b + "attn_qkv", 3 * WIDTH, WIDTH, False)
            matrix(b + "attn_output", WIDTH, WIDTH, False)
            norm(b + "ffn_norm")
            matrix(b + "ffn_up", 2 * model["ffn"], WIDTH, False)
            matrix(b + "ffn_down", WIDTH, model["ffn"], False)
            continue
        biases = model["arch"] != "nomic-bert"
        if model["arch"] == "nomic-bert":
            matrix(b + "attn_qkv", 3 * WIDTH, WIDTH, False)
        else:
            for part in "qkv":
                matrix(b + "attn_" + part, WIDTH, WIDTH, True)
        matrix(b + "attn_output", WIDTH, WIDTH, biases)
        norm(b + "attn_output_norm")
        if model["arch"] == "bert":
            matrix(b + "ffn_up", model["ffn"], WIDTH, True)
        elif model["arch"] == "nomic-bert":
            matrix(b + "ffn_up", model["ffn"], WIDTH, False)
            matrix(b + "ffn_gate", model["ffn"], WIDTH, False)
        else:
            matrix(b + "ffn_up", 2 * model["ffn"], WIDTH, False)  # The gate's rows come first.
        matrix(b + "ffn_down", WIDTH, model["ffn"], biases)
        norm(b + "layer_output_norm")
    if model["arch"] == "modern-bert":
        norm("output_norm")
    if model.get("head"):
        matrix("cls", WIDTH, WIDTH, True)
        matrix("cls.output", 1, WIDTH, True)
    return t


def write(path, name, model, weights):
    w = gguf.GGUFWriter(path, model["arch"])
    w.add_name(name)
    w.add_context_length(CONTEXT)
    w.add_embedding_length(WIDTH)
    w.add_feed_forward_length(model["ffn"])
    w.add_block_count(model.get("layers", LAYERS))
    w.add_head_count(HEADS)
    if model["arch"] == "gemma-embedding":
        w.add_layer_norm_rms_eps(EPSILON)
        w.add_head_count_kv(model["kv_heads"])
        w.add_rope_freq_base(1e6)
        w.add_sliding_window(model["window"])
    else:
        w.add_layer_norm_eps(EPSILON)
        w.add_causal_attention(False)
    w.add_pooling_type(model["pooling"])
    if model["arch"] == "nomic-bert":
        w.add_rope_freq_base(1000.0)
    if model["arch"] == "modern-bert":
        w.add_rope_freq_base(160000.0)
        w.add_sliding_window(model["window"])
    tokens = vocabulary()
    w.add_tokenizer_model("bert")
    w.add_tokenizer_pre("bert-bge")
    w.add_token_list([t if t.startswith("[") else t[2:] if t.startswith("##") else "▁" + t for t in tokens])
    w.add_token_types([3 if t.startswith("[") else 1 for t in tokens])
    w.add_token_type_count(max(1, model["types"]))
    for key, token in (("unk", "[UNK]"), ("sep", "[SEP]"), ("pad", "[PAD]"), ("mask", "[MASK]")):
        getattr(w, f"add_{key}_token_id")(tokens.index(token))
    w.add_bos_token_id(tokens.index("[CLS]"))
    for key, value in weights.items():
        w.add_tensor(key, value)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def layer_norm(x, t, key):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON) * t[key + ".weight"] + t.get(key + ".bias", 0)


def rms_norm(x, weight):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON) * weight


def product(x, t, key):
    return x @ t[key + ".weight"].T + t.get(key + ".bias", 0)


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def silu(x):
    return x / (1 + np.exp(-x))


def rotate(x, base):
    """[T, H, K]; pairs (i, i + K/2)."""
    half = x.shape[-1] // 2
    angles = np.arange(x.shape[0])[:, None] * base ** (-2.0 * np.arange(half) / x.shape[-1])
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], -1)


def attention(x, t, b, model, windowed=False):
    rows, width = x.shape[0], WIDTH // HEADS
    if b + "attn_qkv.weight" in t:
        q, k, v = np.split(product(x, t, b + "attn_qkv"), 3, axis=1)
    else:
        q, k, v = (product(x, t, b + "attn_" + part) for part in "qkv")
    q, k, v = (y.reshape(rows, HEADS, width) for y in (q, k, v))
    if model["arch"] == "nomic-bert":
        q, k = rotate(q, 1000.0), rotate(k, 1000.0)
    if model["arch"] == "modern-bert":
        base = 10000.0 if windowed else 160000.0
        q, k = rotate(q, base), rotate(k, base)
    scores = np.einsum("thk,shk->hts", q, k) / math.sqrt(width)
    distance = np.abs(np.arange(rows)[:, None] - np.arange(rows)[None])
    if windowed:
        scores = np.where(distance <= model["window"] // 2, scores, -np.inf)
    if model["arch"] == "jina-bert-v2":  # ALiBi: slopes of a power of two of heads.
        scores -= (2.0 ** (-8.0 * np.arange(1, HEADS + 1) / HEADS))[:, None, None] * distance
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return product(np.einsum("hts,shk->thk", weights, v).reshape(rows, WIDTH), t, b + "attn_output")


def gemma_embedding(model, t, ids):
    """Gemma 3 without a mask: a full layer behind five whose windows reach to both sides."""
    x = t["token_embd.weight"][ids] * math.sqrt(WIDTH)
    rows, width, groups = len(ids), WIDTH // HEADS, HEADS // model["kv_heads"]
    distance = np.abs(np.arange(rows)[:, None] - np.arange(rows)[None])
    for layer in range(model["layers"]):
        b = f"blk.{layer}."
        windowed = (layer + 1) % 6 != 0
        base = 10000.0 if windowed else 1e6
        y = rms_norm(x, t[b + "attn_norm.weight"])
        q, k, v = (product(y, t, b + "attn_" + part).reshape(rows, -1, width) for part in "qkv")
        q = rotate(rms_norm(q, t[b + "attn_q_norm.weight"]), base)
        k = rotate(rms_norm(k, t[b + "attn_k_norm.weight"]), base)
        k, v = np.repeat(k, groups, axis=1), np.repeat(v, groups, axis=1)
        scores = np.einsum("thk,shk->hts", q, k) / math.sqrt(width)
        if windowed:
            scores = np.where(distance <= model["window"] // 2, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        y = product(np.einsum("hts,shk->thk", weights, v).reshape(rows, WIDTH), t, b + "attn_output")
        x = x + rms_norm(y, t[b + "post_attention_norm.weight"])
        y = rms_norm(x, t[b + "ffn_norm.weight"])
        gate = product(y, t, b + "ffn_gate")
        gate = 0.5 * gate * (1 + np.tanh(math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)))
        y = product(gate * product(y, t, b + "ffn_up"), t, b + "ffn_down")
        x = x + rms_norm(y, t[b + "post_ffw_norm.weight"])
    x = rms_norm(x, t["output_norm.weight"])
    return product(product(x, t, "dense_2"), t, "dense_3")


def feed_forward(x, t, b, model):
    if model["arch"] == "bert":
        hidden = gelu(product(x, t, b + "ffn_up"))
    elif model["arch"] == "nomic-bert":
        hidden = silu(product(x, t, b + "ffn_gate")) * product(x, t, b + "ffn_up")
    else:
        gate, up = np.split(product(x, t, b + "ffn_up"), 2, axis=1)
        hidden = gelu(gate) * up
    return product(hidden, t, b + "ffn_down")


def run(model, weights, ids, types):
    t = {key: value.astype(np.float64) for key, value in weights.items()}
    if model["arch"] == "gemma-embedding":
        return gemma_embedding(model, t, ids)
    x = t["token_embd.weight"][ids]
    if model["types"]:
        x = x + t["token_types.weight"][types]
    if model["arch"] == "bert":
        x = x + t["position_embd.weight"][: len(ids)]
    x = layer_norm(x, t, "token_embd_norm")
    for layer in range(LAYERS if model["arch"] == "modern-bert" else 0):
        b = f"blk.{layer}."
        x = x + attention(layer_norm(x, t, b + "attn_norm") if layer > 0 else x, t, b, model, layer % 3 != 0)
        x = x + feed_forward(layer_norm(x, t, b + "ffn_norm"), t, b, model)
    if model["arch"] == "modern-bert":
        return layer_norm(x, t, "output_norm")
    for layer in range(LAYERS):
        b = f"blk.{layer}."
        x = layer_norm(x + attention(x, t, b, model), t, b + "attn_output_norm")
        x = layer_norm(x + feed_forward(x, t, b, model), t, b + "layer_output_norm")
    return x


def score(weights, hidden):
    t = {key: value.astype(np.float64) for key, value in weights.items()}
    return float(product(np.tanh(product(hidden[0], t, "cls")), t, "cls.output")[0])


def types_of(ids, separator):
    """1 behind the first separator: the second of two texts."""
    seen = np.cumsum([i == separator for i in ids])
    return [int(count > 0 and not (count == 1 and i == separator)) for count, i in zip(seen, ids)]


def cases():
    size = len(vocabulary())
    token = vocabulary().index
    for length in (1, 2, 7, 30, CONTEXT):
        ids = [token("[CLS]")] + [5 + (11 * i * i + 7 * i + length) % (size - 5) for i in range(length - 1)]
        yield ids
    # Two texts.
    yield [token("[CLS]"), token("cat"), token("sat"), token("[SEP]"), token("dog"), token("ran"), token("rain"), token("[SEP]")]


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    golden = json.loads((pathlib.Path(__file__).parent / "golden.json").read_text())
    separator = vocabulary().index("[SEP]")
    for name, model in MODELS.items():
        weights = tensors(name, model)
        write(folder / f"{name}.gguf", name, model, weights)
        facts = {"width": WIDTH, "cases": []}
        for ids in cases():
            types = types_of(ids, separator)
            hidden = run(model, weights, ids, types)
            case = {"ids": ids, "hidden": [round(float(v), 9) for v in hidden.flatten()]}
            if model.get("head"):
                case["score"] = score(weights, hidden)
            facts["cases"].append(case)
        for case, want in zip(facts["cases"], golden.get(name, [])):
            # transformers computed in f32.
            worst = max(abs(a - b) for a, b in zip(case["hidden"], want["hidden"]))
            if case["ids"] != want["ids"] or worst > 2e-5 or abs(case.get("score", 0) - want.get("score", 0)) > 2e-5:
                raise SystemExit(f"{name}: {worst} from what transformers says of {want['ids']}")
        (folder / f"{name}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
