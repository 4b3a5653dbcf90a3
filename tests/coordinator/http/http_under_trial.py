"""Where the Python tests of this folder find their server.

--base-url http://HOST:PORT (or BARN_BASE_URL): a running Barn. --server PROGRAM [ARGUMENT...]: a program that prints "listening on
PORT" and ends with its standard input, as fake_openai_server does.
"""

import argparse
import contextlib
import os
import subprocess


@contextlib.contextmanager
def base_url():
    parser = argparse.ArgumentParser()
    parser.add_argument("--base-url", default=os.environ.get("BARN_BASE_URL"))
    parser.add_argument("--server", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if args.base_url:
        yield args.base_url.rstrip("/").removesuffix("/v1")
        return
    if not args.server:
        parser.error("--base-url or --server is needed")
    process = subprocess.Popen(args.server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        port = process.stdout.readline().split()[-1]
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        if process.wait(timeout=20) != 0:
            raise SystemExit(f"{args.server[0]} ended with {process.returncode}")


def run(tests):
    """Calls each test with the base URL; prints its name and ends with 1 if one fails."""
    failed = 0
    with base_url() as url:
        for test in tests:
            try:
                test(url)
                print(f"ok {test.__name__}")
            except Exception as error:  # One broken test must not hide the others.
                failed += 1
                print(f"FAILED {test.__name__}: {type(error).__name__}: {error}")
    raise SystemExit(1 if failed else 0)
