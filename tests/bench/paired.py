#!/usr/bin/env python3
"""Runs two commands in turn, again and again, and reports medians, spread, and the ratio of each pair.

usage: paired.py --repeat 5 --a 'barn bench m.gguf --json' --b 'llama-bench -m m.gguf -o json' \\
           --metric prompt_tokens_per_s:0.avg_ts --metric generation_tokens_per_s:1.avg_ts

Each command prints JSON. A metric is the path of a number in it (names and list indices with dots between), the same in
both or A's, a colon, B's. What drifts on the machine meets both commands of a round alike, and who goes first changes
from round to round; so trust the ratio rather than medians from different hours.
"""
import argparse
import json
import shlex
import statistics
import subprocess
import sys


def number_at(value, path):
    for step in path.split("."):
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (LookupError, ValueError, TypeError):
            raise ValueError(f"no {path} in the output (at {step!r})") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{path} is no number: {value!r:.80}")
    return float(value)


def run(command, timeout):
    done = subprocess.run(shlex.split(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
    if done.returncode != 0:
        raise ValueError(f"exit code {done.returncode} of {command}\n{done.stderr[-500:]}")
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON on the output of {command}: {error}") from None


def summary(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def measure(options):
    """One summary of A, of B and of A / B for each metric."""
    metrics = [metric.partition(":") for metric in options.metric]
    found = [{"a": [], "b": []} for _ in metrics]
    for i in range(options.warmup + options.repeat):
        for side in ("ab", "ba")[i % 2]:
            output = run(getattr(options, side), options.timeout)
            for (path_a, _, path_b), values in zip(metrics, found):
                number = number_at(output, path_a if side == "a" or not path_b else path_b)
                if i >= options.warmup:
                    values[side].append(number)
    results = []
    for (path_a, _, _), values in zip(metrics, found):
        if 0.0 in values["b"]:
            raise ValueError(f"{path_a}: B gave 0")
        ratios = [a / b for a, b in zip(values["a"], values["b"])]
        results.append({"metric": path_a, "a": summary(values["a"]), "b": summary(values["b"]), "ratio": summary(ratios)})
    return results


def text(options, results):
    lines = [f"A: {options.a}", f"B: {options.b}", f"median of {options.repeat} rounds (least to most)"]
    for result in results:
        lines.append(result["metric"])
        for key, label in (("a", "A"), ("b", "B"), ("ratio", "A / B")):
            s = result[key]
            digits = 3 if key == "ratio" else 1
            lines.append(f"  {label:5} {s['median']:10.{digits}f}  ({s['min']:.{digits}f} to {s['max']:.{digits}f})")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--a", required=True, metavar="COMMAND")
    parser.add_argument("--b", required=True, metavar="COMMAND")
    parser.add_argument("--metric", required=True, action="append", metavar="PATH[:PATH]")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1, help="rounds before those that count")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one command")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.repeat < 1 or options.warmup < 0:
        parser.error("--repeat is 1 or more")
    try:
        results = measure(options)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        print(f"paired: {error}", file=sys.stderr)
        sys.exit(1)
    print(json.dumps(results, indent=2) if options.json else text(options, results))


if __name__ == "__main__":
    main()
