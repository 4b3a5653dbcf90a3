"""Adapters of a GGUF model made up for tests, as GGUF and as PEFT saves them, and models with adapters merged."""
import json
import pathlib
import struct

import gguf
import numpy as np

MODULES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
           "attn_output": "self_attn.o_proj", "ffn_gate_inp": "mlp.gate"}


class Lora:
    """Random changes of attention and router in every layer and of the head: alpha / rank * B A."""

    def __init__(self, model, rank, alpha, seed, size=0.5):
        random = np.random.default_rng(seed)
        self.reader = gguf.GGUFReader(model)
        self.architecture = self.reader.fields["general.architecture"].contents()
        self.rank, self.alpha = rank, alpha
        self.pairs = {}
        for tensor in self.reader.tensors:
            name = tensor.name.removesuffix(".weight").split(".")[-1]
            if name in MODULES or tensor.name == "output.weight":
                rows, cols = tensor.data.shape
                a = random.standard_normal((rank, cols)) / np.sqrt(cols)
                b = random.standard_normal((rows, rank)) * np.std(tensor.data.astype(np.float64)) * np.sqrt(cols)
                self.pairs[tensor.name] = (a.astype(np.float32), (b * size * np.sqrt(rank) / alpha).astype(np.float32))

    def write_gguf(self, path):
        writer = gguf.GGUFWriter(path, self.architecture)
        writer.add_string("general.type", "adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", self.alpha)
        for name, (a, b) in self.pairs.items():
            writer.add_tensor(f"{name}.lora_a", a)
            writer.add_tensor(f"{name}.lora_b", b)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    def write_peft(self, folder):
        pathlib.Path(folder).mkdir()
        config = {"peft_type": "LORA", "r": self.rank, "lora_alpha": self.alpha, "bias": "none", "use_rslora": False,
                  "target_modules": ["q_proj"], "modules_to_save": None}
        pathlib.Path(folder, "adapter_config.json").write_text(json.dumps(config))
        header, data = {"__metadata__": {"format": "pt"}}, b""
        for name, (a, b) in self.pairs.items():
            parts = name.split(".")
            module = "lm_head" if name == "output.weight" else f"model.layers.{parts[1]}.{MODULES[parts[2]]}"
            for letter, factor in (("A", a), ("B", b)):
                raw = factor.tobytes()
                header[f"base_model.model.{module}.lora_{letter}.weight"] = {
                    "dtype": "F32", "shape": list(factor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
                data += raw
        head = json.dumps(header).encode()
        pathlib.Path(folder, "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + data)
        return folder

    def write_merged(self, path, scale=1.0):
        """The model with W + scale * alpha / rank * B A in F32; all other tensors as they are."""
        writer = gguf.GGUFWriter(path, self.architecture)
        for field in self.reader.fields.values():
            if field.name.startswith("GGUF.") or field.name == "general.architecture":
                continue
            kind = field.types[0]
            if kind == gguf.GGUFValueType.ARRAY:
                writer.add_key_value(field.name, field.contents(), kind, sub_type=field.types[-1])
            else:
                writer.add_key_value(field.name, field.contents(), kind)
        for tensor in self.reader.tensors:
            if tensor.name in self.pairs:
                a, b = self.pairs[tensor.name]
                delta = scale * self.alpha / self.rank * (b.astype(np.float64) @ a.astype(np.float64))
                writer.add_tensor(tensor.name, (tensor.data.astype(np.float64) + delta).astype(np.float32))
            else:
                writer.add_tensor(tensor.name, tensor.data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path
