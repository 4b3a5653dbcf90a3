"""Workers that die or hang, clients that leave, bad files and taken ports: clear errors, bounded time, nothing stays broken."""
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from barn_process import BARN, MODELS, SHARED, TIME_SCALE, Server, free_port, run_barn


ASK = {"model": "tiny-moe", "prompt": "The function", "max_tokens": 1900, "temperature": 0, "ignore_eos": True}


class WorkerLoss(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with Server() as server:  # What nobody interrupts.
            cls.expected = server.post("/v1/completions", ASK)[1]["choices"][0]["text"]

    def check_loss(self, sign, objective):
        """The answer goes on with the same tokens when the worker, or another in its place, is there again."""
        with Server("--workers", 2, "--objective", objective) as server:
            outcome = {}

            def ask():
                outcome["answer"] = server.post("/v1/completions", ASK)

            client = threading.Thread(target=ask)
            client.start()
            time.sleep(0.5)
            self.assertTrue(client.is_alive(), "the answer was faster than the loss")
            generated = server.metrics()["barn_generated_tokens_total"]
            self.assertGreater(generated, 0)
            victim = server.workers()[-1]
            os.kill(victim, sign)
            if sign == signal.SIGSTOP:
                deadline = time.monotonic() + 5 * TIME_SCALE
                while server.get("/ready")[0] == 200 and time.monotonic() < deadline:
                    time.sleep(0.05)
                self.assertEqual(server.get("/ready")[0], 503)
                self.assertEqual(server.get("/health")[0], 200)
                os.kill(victim, signal.SIGCONT)
            client.join(60 * TIME_SCALE)
            self.assertFalse(client.is_alive(), "the request hangs")
            status, body = outcome["answer"]
            self.assertEqual(status, 200, body)
            self.assertEqual(body["choices"][0]["text"], self.expected)
            metrics = server.metrics()
            self.assertGreaterEqual(metrics["barn_requests_recovered_total"], 1)
            self.assertEqual(metrics["barn_generated_tokens_total"], 1900)

    def test_killed(self):
        self.check_loss(signal.SIGKILL, "throughput")

    def test_hung(self):
        self.check_loss(signal.SIGSTOP, "throughput")

    def test_rank_killed(self):
        self.check_loss(signal.SIGKILL, "latency")

    def test_rank_hung(self):
        self.check_loss(signal.SIGSTOP, "latency")


class CoordinatorLoss(unittest.TestCase):
    def test_worker_notices_a_frozen_coordinator_and_comes_back(self):
        cluster = f"127.0.0.1:{free_port()}"
        with Server("--cluster-listen", cluster, "--token", "right", command="serve", wait_ready=False) as server, \
                tempfile.NamedTemporaryFile("w+") as log:
            worker = subprocess.Popen([BARN, "worker", "--join", cluster, "--token", "right"], stdout=log,
                                      stderr=subprocess.STDOUT, env={**os.environ, "BARN_HOME": server.home.name})
            try:
                server.wait_ready()
                server.process.send_signal(signal.SIGSTOP)  # The kernel goes on to acknowledge what the worker sends.
                frozen = time.monotonic()
                while "dialling" not in pathlib.Path(log.name).read_text() and time.monotonic() < frozen + 40:
                    time.sleep(0.1)
                self.assertLess(time.monotonic() - frozen, 20)
                server.process.send_signal(signal.SIGCONT)
                status, deadline = 503, time.monotonic() + 30 * TIME_SCALE
                while status == 503 and time.monotonic() < deadline:  # It may be ready still, before it looks at a clock.
                    server.wait_ready(30)
                    status, body = server.post("/v1/completions",
                                               {"model": "tiny-moe", "prompt": "The", "max_tokens": 4})
                self.assertEqual(status, 200, body)
            finally:
                server.process.send_signal(signal.SIGCONT)
                worker.send_signal(signal.SIGINT)
                worker.wait(20)


class Clients(unittest.TestCase):
    def test_client_that_leaves_frees_its_sequence(self):
        with Server() as server:
            for stream in (True, False):
                before = server.metrics()
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
                connection.request("POST", "/v1/completions", json.dumps({
                    "model": "tiny-moe", "prompt": "The", "max_tokens": 1900, "stream": stream, "ignore_eos": True}),
                    {"Content-Type": "application/json"})
                if stream:
                    connection.getresponse().read(20)
                else:
                    time.sleep(0.3)
                connection.sock.close()
                connection.close()
                deadline = time.monotonic() + 5 * TIME_SCALE
                while server.metrics()["barn_requests_running"] > 0 and time.monotonic() < deadline:
                    time.sleep(0.02)
                after = server.metrics()
                self.assertEqual(after["barn_requests_running"], 0)
                self.assertEqual(after["barn_kv_blocks_free"], after["barn_kv_blocks_total"])
                self.assertLess(after["barn_generated_tokens_total"] - before["barn_generated_tokens_total"], 1900)

    def test_prompt_longer_than_the_context(self):
        with Server("--context", 64) as server:
            status, body = server.post("/v1/completions", {"model": "tiny-moe", "prompt": [5] * 500, "max_tokens": 4})
            self.assertEqual(status, 400, body)
            self.assertIn("500", body["error"]["message"])
            self.assertRegex(body["error"]["message"], r"\b64\b")


class Startup(unittest.TestCase):
    def fails(self, *arguments, env=None):
        result = run_barn(*arguments, check=False, timeout=60, env=env)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertEqual(len(result.stderr.strip().splitlines()), 1, result.stderr)
        return result.stderr

    def test_port_in_use(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.assertIn(str(port), self.fails("up", "--listen", f"127.0.0.1:{port}"))

    def test_bad_files(self):
        good = (SHARED / "models/tiny-moe-Q4_K_M.gguf").read_bytes()
        with tempfile.TemporaryDirectory() as folder:
            for name, data in {"empty": b"", "text": b"hello, world\n" * 9, "cut": good[:100_000],
                               "half": good[: len(good) // 2]}.items():
                path = pathlib.Path(folder) / f"{name}.gguf"
                path.write_bytes(data)
                for command in (["show", path], ["run", path, "hi"]):
                    self.fails(*command)
        self.assertIn("nothing-here", self.fails("run", "nothing-here", "hi"))

    def test_does_not_fit(self):
        error = self.fails("logits", MODELS / "bench-moe-Q4_K.gguf", "--tokens", "1,2", "--memory", "500MiB", "--workers", 2)
        self.assertRegex(error, r"GiB|MiB|bytes")
        self.fails("plan", MODELS / "bench-moe-Q4_K.gguf", "--node", "a=500MiB", "--node", "b=500MiB")

    def test_usage_errors_exit_with_2(self):
        for arguments in (["fly"], ["run"], ["up", "--workers", "0"], ["bench", "tiny-moe", "-p", "many"]):
            self.assertEqual(run_barn(*arguments, check=False).returncode, 2, arguments)

    def test_wrong_token_is_refused(self):
        port = free_port()
        with Server("--cluster-listen", f"127.0.0.1:{port}", "--token", "right", command="serve", wait_ready=False) as server:
            time.sleep(1)
            result = run_barn("worker", "--join", f"127.0.0.1:{port}", "--token", "wrong", check=False, timeout=30)
            self.assertEqual(result.returncode, 1)
            self.assertIn("token", result.stderr)
            self.assertEqual(server.get("/ready")[0], 503)


if __name__ == "__main__":
    unittest.main()
