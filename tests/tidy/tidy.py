#!/usr/bin/env python3
"""The house rules that a program can check. usage: tidy.py SOURCE_DIR; prints one line per finding, exits 1 if there is any."""
import pathlib
import re
import shutil
import subprocess
import sys

MAX_LINES = 500
# Folder -> folders of ours that its files may include. kernels/formats and kernels/check.h are plain data that all may see.
ARROWS = {
    "proto": {"proto"},
    "kernels": {"kernels"},
    "sharding": {"sharding", "proto"},
    "worker": {"worker", "kernels", "sharding", "proto"},
    "coordinator": {"coordinator", "sharding", "proto"},
}
SHARED_HEADERS = ("kernels/formats/", "kernels/check.h")
TOP_LEVEL = {"CMakeLists.txt", "CMakePresets.json", "LICENSE", "README.md", "coordinator", "worker", "proto", "kernels",
             "sharding", "deploy", "tests"}
SOURCE = {".cc", ".h", ".cu", ".cuh", ".proto", ".py", ".sh", ".txt", ".md", ".json", ".cmake", ".js"}
ABSOLUTE = re.compile(r"(?<![\w.$}])/(?:work|root|home|Users)/\w")


def tracked(root):
    out = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, check=True).stdout
    return [pathlib.PurePosixPath(p) for p in out.decode().split("\0") if p and (root / p).exists()]


def read(root, path):
    return (root / path).read_text(encoding="utf-8", errors="replace")


def check_layout(root, files):
    for top in sorted({f.parts[0] for f in files} - TOP_LEVEL):
        if not top.startswith("."):
            yield f"{top}: does not belong at the top level"
    for folder in ARROWS:
        if not (root / folder / "README.md").exists():
            yield f"{folder}: has no README.md"


def check_text(root, files):
    for f in files:
        if f.suffix not in SOURCE or "data" in f.parts:
            continue
        text = read(root, f)
        lines = text.count("\n")
        if f.suffix not in (".md", ".json") and lines > MAX_LINES:
            yield f"{f}: {lines} lines, at most {MAX_LINES}"
        for number, line in enumerate(text.splitlines(), 1):
            if ABSOLUTE.search(line) and f.name != "tidy.py":
                yield f"{f}:{number}: absolute path of a machine: {line.strip()[:80]}"


def check_includes(root, files):
    for f in files:
        if f.suffix not in (".cc", ".h") or f.parts[0] not in ARROWS:
            continue
        allowed = ARROWS[f.parts[0]]
        if f.parts[:2] == ("coordinator", "cli"):
            allowed = set(ARROWS)  # The executable links everything.
        for include in re.findall(r'#include "([^"]+)"', read(root, f)):
            if include.startswith(SHARED_HEADERS) and f.parts[0] != "proto":
                continue
            top = include.split("/")[0]
            if top in ARROWS and top not in allowed:
                yield f"{f}: includes {include}, against the arrows of the design"


def check_tests_registered(root, files):
    cmake = "\n".join(read(root, f) for f in files if f.name == "CMakeLists.txt")
    for f in files:
        if f.parts[0] == "tests" and f.name.endswith(("_test.cc", "_test.py")):
            if not re.search(r"\b" + re.escape(f.stem) + r"\b", cmake):
                yield f"{f}: no CMakeLists.txt registers it"
    for f in files:
        if f.parts[0] == "tests" and f.suffix == ".cc" and re.search(r"\bGTEST_SKIP\b|\bDISABLED_", read(root, f)):
            yield f"{f}: a test that may not run"


def check_feature_table(root, files):
    """Whatever README says works names a test, and the tests that it names exist."""
    cmake = "\n".join(read(root, f) for f in files if f.name == "CMakeLists.txt")
    stems = {f.stem for f in files if f.parts[0] == "tests"}
    table = re.search(r"\| feature \| state \|\n\|---\|---\|\n((?:\|.*\n)+)", read(root, pathlib.PurePosixPath("README.md")))
    if not table:
        yield "README.md: no table of features"
        return
    for row in table.group(1).splitlines():
        feature, state = (cell.strip() for cell in row.strip("|").rsplit(" | ", 1))
        names = re.findall(r"`(\w+_(?:test|bench))`", state)
        if not names and not state.startswith("planned"):
            yield f"README.md: no test is named for: {feature[:60]}"
        for name in names:
            if name not in stems and not re.search(r"\b" + name + r"\b", cmake):
                yield f"README.md: there is no {name}, named for: {feature[:60]}"


def check_format(root, files):
    if not shutil.which("clang-format"):
        yield "clang-format: not installed"
        return
    sources = [str(f) for f in files if f.suffix in (".cc", ".h") and "data" not in f.parts]
    result = subprocess.run(["clang-format", "--dry-run", "-Werror", *sources], cwd=root, capture_output=True, text=True)
    bad = sorted({line.split(":")[0] for line in result.stderr.splitlines() if "error:" in line})
    for f in bad:
        yield f"{f}: not formatted (clang-format -i {f})"


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    files = tracked(root)
    findings = []
    for check in (check_layout, check_text, check_includes, check_tests_registered, check_feature_table,
                  check_format):
        findings += list(check(root, files))
    for finding in findings:
        print(finding)
    print(f"{len(files)} files, {len(findings)} findings")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
