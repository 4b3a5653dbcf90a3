"""Starts the real program for tests and talks to it. Loopback only; ends what it started."""
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time

BARN = os.environ["BARN_BINARY"]
GEMMA = os.environ.get("BARN_TEST_GEMMA", "")
SHARED = pathlib.Path(os.environ["BARN_TEST_SHARED"])
MODELS = pathlib.Path(os.environ["BARN_TEST_MODELS"])
# More than 1 under a sanitizer: bounds on time are multiplied by it.
TIME_SCALE = int(os.environ.get("BARN_TEST_TIME_SCALE", "1"))
READY_SECONDS = 120


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def check_sanitizers(output):
    """Fails on a sanitizer's report: a worker process may make one while the command itself ends well."""
    if re.search(r"Sanitizer|runtime error: ", output):
        raise AssertionError(output)


def run_barn(*arguments, env=None, timeout=300, check=True):
    """Runs one command to its end and returns its stdout."""
    result = subprocess.run([BARN, *map(str, arguments)], capture_output=True, text=True, timeout=timeout * TIME_SCALE,
                            env={**os.environ, **(env or {})})
    check_sanitizers(result.stderr)
    if check and result.returncode != 0:
        raise AssertionError(f"barn {' '.join(map(str, arguments))} exited {result.returncode}: {result.stderr}")
    return result.stdout if check else result


def run_json(*arguments, **options):
    return json.loads(run_barn(*arguments, "--json", **options))


class Server:
    """A running `barn up` or `barn serve`."""

    def __init__(self, *arguments, env=None, command="up", wait_ready=True):
        self.port = free_port()
        self.home = tempfile.TemporaryDirectory()
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log")
        command = [command] if isinstance(command, str) else command
        self.process = subprocess.Popen(
            [BARN, *command, *map(str, arguments), "--listen", f"127.0.0.1:{self.port}"], stdout=self.log,
            stderr=subprocess.STDOUT, env={**os.environ, "BARN_HOME": self.home.name, **(env or {})})
        if wait_ready:
            self.wait_ready()

    def output(self):
        return pathlib.Path(self.log.name).read_text()

    def wait_ready(self, seconds=READY_SECONDS):
        deadline = time.monotonic() + seconds * TIME_SCALE
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"barn ended with {self.process.returncode}: {self.output()}")
            with contextlib.suppress(OSError):
                if self.get("/ready")[0] == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"not ready after {seconds * TIME_SCALE} s: {self.output()}")

    def get(self, path, timeout=30):
        return self.request("GET", path, timeout=timeout)

    def post(self, path, body, timeout=120):
        return self.request("POST", path, body, timeout)

    def request(self, method, path, body=None, timeout=120):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout * TIME_SCALE)
        try:
            data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json"} if data is not None else {})
            response = connection.getresponse()
            text = response.read().decode()
            self.last_headers = dict(response.getheaders())
            return response.status, json.loads(text) if "json" in response.getheader("Content-Type", "") else text
        finally:
            connection.close()

    def metrics(self):
        """Counters of /metrics without labels, by name."""
        values = {}
        for line in self.get("/metrics")[1].splitlines():
            if line and not line.startswith("#") and "{" not in line:
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
        return values

    def workers(self):
        """Process ids of the worker processes that it started."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children]

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20 * TIME_SCALE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"barn did not end within {20 * TIME_SCALE} s of SIGINT: {self.output()}")
        output = self.output()
        self.home.cleanup()
        self.log.close()
        check_sanitizers(output)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def resident_bytes(pid, field="VmRSS"):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no {field}")
