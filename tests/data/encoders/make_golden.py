"""Writes golden.json: what BERT of transformers says of the models and texts of make_encoders.py.

    python3 -m venv v && v/bin/pip install 'transformers<4.50' flax jax gguf && v/bin/python make_golden.py
"""

import json
import pathlib

import numpy as np
import transformers

import make_encoders as encoders

HERE = pathlib.Path(__file__).parent


def dense(weights, key):
    return {"kernel": weights[key + ".weight"].T, "bias": weights[key + ".bias"]}


def norm(weights, key):
    return {"scale": weights[key + ".weight"], "bias": weights[key + ".bias"]}


def bert(weights, pooler):
    layers = {}
    for layer in range(encoders.LAYERS):
        b = f"blk.{layer}."
        layers[str(layer)] = {
            "attention": {
                "self": {name: dense(weights, b + "attn_" + name[0]) for name in ("query", "key", "value")},
                "output": {"dense": dense(weights, b + "attn_output"), "LayerNorm": norm(weights, b + "attn_output_norm")},
            },
            "intermediate": {"dense": dense(weights, b + "ffn_up")},
            "output": {"dense": dense(weights, b + "ffn_down"), "LayerNorm": norm(weights, b + "layer_output_norm")},
        }
    return {
        "embeddings": {
            "word_embeddings": {"embedding": weights["token_embd.weight"]},
            "position_embeddings": {"embedding": weights["position_embd.weight"]},
            "token_type_embeddings": {"embedding": weights["token_types.weight"]},
            "LayerNorm": norm(weights, "token_embd_norm"),
        },
        "encoder": {"layer": layers},
        "pooler": {"dense": pooler},
    }


def main():
    golden = {"transformers": transformers.__version__}
    for name in ("bert", "bert-reranker"):
        model = encoders.MODELS[name]
        weights = encoders.tensors(name, model)
        config = transformers.BertConfig(
            vocab_size=len(encoders.vocabulary()), hidden_size=encoders.WIDTH, num_hidden_layers=encoders.LAYERS,
            num_attention_heads=encoders.HEADS, intermediate_size=model["ffn"], hidden_act="gelu",
            max_position_embeddings=encoders.CONTEXT, type_vocab_size=model["types"], layer_norm_eps=encoders.EPSILON, num_labels=1)
        square = {"kernel": np.zeros((encoders.WIDTH, encoders.WIDTH), np.float32), "bias": np.zeros(encoders.WIDTH, np.float32)}
        plain = transformers.FlaxBertModel(config)
        head = transformers.FlaxBertForSequenceClassification(config)
        golden[name] = []
        for ids in encoders.cases():
            types = encoders.types_of(ids, encoders.vocabulary().index("[SEP]"))
            inputs = dict(input_ids=np.array([ids]), token_type_ids=np.array([types]))
            pooler = dense(weights, "cls") if model.get("head") else square
            hidden = plain(**inputs, params=bert(weights, pooler)).last_hidden_state
            case = {"ids": ids, "hidden": [round(float(v), 6) for v in np.asarray(hidden).flatten()]}
            if model.get("head"):
                params = {"bert": bert(weights, pooler), "classifier": dense(weights, "cls.output")}
                case["score"] = round(float(head(**inputs, params=params).logits[0, 0]), 6)
            golden[name].append(case)
    (HERE / "golden.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
