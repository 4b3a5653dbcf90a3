#!/usr/bin/env python3
"""Static gates on compiled GPU code: what can be known of a kernel's speed without a GPU.

usage: cuda_gates.py GATES_TOML ARCHITECTURES NVCC OBJECT... [--sources FILE...] [--table]
ARCHITECTURES as CMake has them, "80-real,90": 90 without -real means PTX as well. Each kernel must meet the first entry
of the table that its name matches. Needs cuobjdump and nvdisasm (Python packages nvidia-cuda-cuobjdump, -nvdisasm);
without them only what ptxas -v says is checked, and a line says so. --figures prints all that is known of each kernel,
--table the same in short: a line for each kernel, a column for each architecture.
"""
import argparse
import pathlib
import re
import shutil
import sys
import sysconfig
import tomllib

import sass


def find_cuobjdump():
    """Of the environment's packages, else of the path; None without nvdisasm beside it."""
    folders = [pathlib.Path(sysconfig.get_paths()["purelib"]) / "nvidia" / "cu13" / "bin"]
    if on_path := shutil.which("cuobjdump"):
        folders.append(pathlib.Path(on_path).parent)
    for folder in folders:
        if (folder / "cuobjdump").exists() and (folder / "nvdisasm").exists():
            return str(folder / "cuobjdump")
    return None


def figures(kernel, gate):
    # Around products of tensor cores lies the loop that loads; it counts even where the inner one is not unrolled.
    loop = kernel.hot_loop("IMMA|HMMA|LDG" if kernel.count("IMMA|HMMA") else "IDP|FFMA")
    histogram = sass.opcode_histogram(loop)
    products = histogram["IDP"]
    return {
        "registers": kernel.registers,
        "occupancy_percent": kernel.occupancy_percent(gate["threads"]),
        "shared_bytes": kernel.shared_bytes,
        "stack_bytes": kernel.stack_bytes,
        "spills": kernel.spill_bytes,
        "tensor": kernel.count("IMMA|HMMA"),
        # Of the hot loop. A super-block of 256 columns is 64 products of four for a lane: two for each lane of a warp.
        "loop": len(loop),
        "products": products,
        "wide_loads": sum(bool(re.match(r"LDG.*\.128", o)) for o in loop),
        "loads": histogram["LDG"],
        "per_super_block": round(len(loop) * 2 / products, 1) if products else 0,
    }


def short(figure):
    """Registers, share of the multiprocessor's threads, and what the gate counts instructions by."""
    text = f"{figure['registers']} r, {figure['occupancy_percent']} %"
    if figure["per_super_block"]:
        return f"{text}, {figure['per_super_block']}"
    return f"{text}, {figure['tensor']} t" if figure["tensor"] else text


def print_table(cells, codes):
    print("| kernel: registers, occupancy, instructions per super-block or (t) of tensor cores |",
          " | ".join(f"sm_{code}" for code in codes), "|")
    print("|---" * (len(codes) + 1) + "|")
    for name, by_code in cells.items():
        print(f"| {name} |", " | ".join(by_code.get(code, "") for code in codes), "|")


def check(kernel, gate, has_code):
    got = figures(kernel, gate)
    limits = [("stack_bytes", "at most", gate.get("stack_bytes_max", 0)),
              ("spills", "at most", gate.get("spills_max", 0)), ("shared_bytes", "at most", 48 * 1024),
              ("registers", "at most", gate["registers_max"]),
              ("occupancy_percent", "at least", gate["occupancy_percent_min"])]
    if has_code:
        limits += [("tensor", "at least", gate.get("tensor_min", 0)),
                   ("wide_loads", "at least", gate.get("wide_loads_min", 0)),
                   ("products", "at least", gate.get("products_min", 0)),
                   ("per_super_block", "at most", gate.get("per_super_block_max", 1e9))]
    for name, how, limit in limits:
        if got[name] > limit if how == "at most" else got[name] < limit:
            yield f"sm_{kernel.architecture} {kernel.name}: {name} {got[name]}, {how} {limit}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("gates")
    parser.add_argument("architectures")
    parser.add_argument("nvcc")
    parser.add_argument("objects", nargs="+")
    parser.add_argument("--sources", nargs="*", default=[])
    parser.add_argument("--include", default=".")
    parser.add_argument("--figures", action="store_true")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    gates = tomllib.loads(pathlib.Path(arguments.gates).read_text())["gate"]
    wanted = arguments.architectures.split(",")
    codes = frozenset(a.split("-")[0] for a in wanted)
    ptx = frozenset(a for a in wanted if "-" not in a)

    problems = []
    cuobjdump = find_cuobjdump()
    if cuobjdump:
        kernels = sass.read_objects(cuobjdump, arguments.objects)
        found = sass.architectures(cuobjdump, arguments.objects)
        if found != (codes, ptx):
            problems.append(f"machine code and PTX for {found}, wanted {(codes, ptx)}")
    else:
        print("cuobjdump is missing (pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm): checking registers, "
              "stack, spills, shared memory and occupancy by ptxas -v only")
        kernels = sass.read_ptxas(arguments.nvcc, arguments.sources, arguments.include, codes)

    used = set()
    cells = {}
    for kernel in sorted(kernels, key=lambda k: (k.name, int(k.architecture))):
        index = next((i for i, g in enumerate(gates) if re.fullmatch(g["kernel"], kernel.name)), None)
        if index is None:
            problems.append(f"sm_{kernel.architecture} {kernel.name}: no gate matches")
            continue
        used.add(index)
        if arguments.figures:
            print(f"sm_{kernel.architecture:4}{kernel.name:40}",
                  "  ".join(f"{k} {v}" for k, v in figures(kernel, gates[index]).items()))
        cells.setdefault(kernel.name, {})[kernel.architecture] = short(figures(kernel, gates[index]))
        problems += check(kernel, gates[index], cuobjdump is not None)
    if arguments.table:
        print_table(cells, sorted(codes, key=int))
    problems += [f"no kernel matches the gate {g['kernel']}" for i, g in enumerate(gates) if i not in used]
    for problem in problems:
        print(problem)
    print(f"{len(kernels)} kernels on {len(codes)} architectures, {len(problems)} problems")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
