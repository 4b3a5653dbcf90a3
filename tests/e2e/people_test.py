"""Keys, quotas, usage, TLS with reload and request ids of the real program, with the official OpenAI client."""
import concurrent.futures
import json
import os
import pathlib
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

import openai

from barn_process import TIME_SCALE, Server, run_barn

PROMPT = {"model": "tiny-moe", "prompt": "a b c", "max_tokens": 8, "extra_body": {"ignore_eos": True}}


def create(home, *options):
    return run_barn("key", "create", *options, env={"BARN_HOME": home}).strip()


def certificate(folder, name):
    """A self-signed pair for 127.0.0.1, put in place under fixed names."""
    for suffix in ("crt", "key"):
        pathlib.Path(folder, f"new.{suffix}").unlink(missing_ok=True)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", f"{folder}/new.key", "-out", f"{folder}/new.crt"], check=True, capture_output=True)
    os.replace(f"{folder}/new.key", f"{folder}/server.key")
    os.replace(f"{folder}/new.crt", f"{folder}/server.crt")


class People(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.home = self.folder.name

    def tearDown(self):
        self.folder.cleanup()

    def client(self, server, key):
        return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key=key, max_retries=0)

    def test_keys_quotas_and_usage(self):
        ana = create(self.home, "--name", "ana", "--tokens-per-day", "20", "--priority", "2")
        bo = create(self.home, "--name", "bo", "--rate", "2/min")
        with Server("--require-keys", "--keys", f"{self.home}/keys.db") as server:
            with self.assertRaises(openai.AuthenticationError):
                self.client(server, "barn-wrong").completions.create(**PROMPT)
            with self.client(server, ana) as client:
                used = client.completions.create(**PROMPT).usage
                client.completions.create(**PROMPT)
                deadline = time.monotonic() + 10 * TIME_SCALE
                with self.assertRaises(openai.RateLimitError) as refused:
                    while time.monotonic() < deadline:
                        client.completions.create(**PROMPT)
            self.assertEqual(refused.exception.code, "insufficient_quota")
            self.assertGreater(int(refused.exception.response.headers["retry-after"]), 0)
            with self.client(server, bo) as client:
                stream = client.completions.create(**PROMPT, stream=True)
                self.assertGreater(len(list(stream)), 8)
                client.completions.create(**PROMPT)
                with self.assertRaises(openai.RateLimitError) as refused:
                    client.completions.create(**PROMPT)
                self.assertEqual(refused.exception.code, "rate_limit_exceeded")
            # A key made now works, and one revoked now ends, within a second or two.
            eve = create(self.home, "--name", "eve")
            self.until(lambda: self.client(server, eve).models.list().data[0].id == "tiny-moe")
            run_barn("key", "revoke", "eve", env={"BARN_HOME": self.home})
            self.until(lambda: self.refuses(server, eve))
        rows = {row["key"]: row for row in json.loads(run_barn("usage", "--json", env={"BARN_HOME": self.home}))}
        self.assertEqual(rows["bo"]["generated_tokens"], 16)
        self.assertEqual(rows["bo"]["requests"], 2)
        self.assertEqual(rows["bo"]["prompt_tokens"], 2 * used.prompt_tokens)
        self.assertGreaterEqual(rows["ana"]["generated_tokens"] + rows["ana"]["prompt_tokens"], 20)
        self.assertIn("bo", run_barn("usage", "--name", "bo", env={"BARN_HOME": self.home}))
        listed = {key["name"]: key for key in json.loads(run_barn("key", "list", "--json", env={"BARN_HOME": self.home}))}
        self.assertEqual(listed["ana"]["tokens_per_day"], 20)
        self.assertEqual(listed["ana"]["priority"], 2)
        self.assertEqual(listed["bo"]["rate"], "2/min")
        self.assertTrue(listed["eve"]["revoked"])
        audit = run_barn("key", "audit", env={"BARN_HOME": self.home})
        for line in ("key create  eve role user", "key revoke  eve"):
            self.assertIn(line.replace("  ", " "), " ".join(audit.split()))
        self.assertIn("refused", audit)

    def test_keys_share_by_weight(self):
        """Two keys that both want more than there is: tokens in proportion to their weights."""
        keys = {name: create(self.home, "--name", name, "--weight", weight) for name, weight in (("big", 3), ("small", 1))}
        done = threading.Event()
        with Server("--keys", f"{self.home}/keys.db", "--running-max", 4) as server:

            def work(key):
                with self.client(server, key) as client:
                    while not done.is_set():
                        client.completions.create(**{**PROMPT, "max_tokens": 40})

            def used():
                with self.client(server, keys["big"]) as client, self.client(server, keys["small"]) as other:
                    rows = [one.get("/usage", cast_to=object)["data"] for one in (client, other)]
                return [sum(row["generated_tokens"] for row in part) for part in rows]

            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                workers = [pool.submit(work, key) for key in list(keys.values()) * 8]
                try:
                    self.until(lambda: used()[1] > 400)
                    before = used()
                    self.until(lambda: used()[1] > before[1] + 1500, seconds=120)
                    big, small = (after - then for after, then in zip(used(), before))
                finally:
                    done.set()
                for worker in workers:
                    worker.result()
        self.assertAlmostEqual(big / small, 3, delta=0.3)

    def until(self, condition, seconds=15):
        deadline = time.monotonic() + seconds * TIME_SCALE
        while True:
            try:
                if condition():
                    return
            except openai.AuthenticationError:
                pass
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)

    def refuses(self, server, key):
        try:
            self.client(server, key).models.list()
        except openai.AuthenticationError:
            return True
        return False

    def test_commands_refuse_nonsense(self):
        for arguments in (["key", "create", "--name", "a b"], ["key", "create", "--name", "a", "--rate", "often"],
                          ["key", "create", "--name", "a", "--tokens-per-day", "-1"], ["key", "revoke", "nobody"]):
            done = run_barn(*arguments, env={"BARN_HOME": self.home}, check=False)
            self.assertEqual((done.returncode, done.stdout), (1, ""), arguments)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertEqual(run_barn("key", "create", "--name", "a", "--role", "king", check=False).returncode, 2)
        create(self.home, "--name", "ana")
        again = run_barn("key", "create", "--name", "ana", env={"BARN_HOME": self.home}, check=False)
        self.assertIn("a key named 'ana' is in use", again.stderr)

    def fetch(self, server, ca, path="/health", body=None, headers=None):
        context = ssl.create_default_context(cafile=ca)
        request = urllib.request.Request(f"https://127.0.0.1:{server.port}{path}", body, headers or {})
        with urllib.request.urlopen(request, context=context, timeout=60 * TIME_SCALE) as reply:
            return reply.read().decode(), reply.headers

    def test_tls_and_its_reload(self):
        certificate(self.home, "one")
        first = pathlib.Path(self.home, "first.crt")
        first.write_bytes(pathlib.Path(self.home, "server.crt").read_bytes())
        pair = ("--tls-cert", f"{self.home}/server.crt", "--tls-key", f"{self.home}/server.key")
        with Server(*pair, "--log-requests", wait_ready=False) as server:
            deadline = time.monotonic() + 60 * TIME_SCALE
            while "ready:" not in server.output():
                self.assertLess(time.monotonic(), deadline, server.output())
                time.sleep(0.1)
            self.assertIn(f"https://127.0.0.1:{server.port}", server.output())
            body = json.dumps({"prompt": "a b", "max_tokens": 30, "stream": True, "ignore_eos": True}).encode()
            text, headers = self.fetch(server, first, "/v1/completions", body,
                                       {"Content-Type": "application/json", "x-request-id": "my-id-7"})
            self.assertIn("data: [DONE]", text)
            self.assertEqual(headers["x-request-id"], "my-id-7")
            self.assertRegex(server.output(), r"request id=my-id-7 client=127.0.0.1 route=/v1/completions status=200 "
                                              r"prompt_tokens=\d+ tokens=30 first_token_ms=\d+ ms=\d+")
            # A long body in many records.
            long = json.dumps({"prompt": "a b c " * 20000, "max_tokens": 1}).encode()
            with self.assertRaises(urllib.error.HTTPError) as refused:
                self.fetch(server, first, "/v1/completions", long, {"Content-Type": "application/json"})
            self.assertIn("context_length_exceeded", refused.exception.read().decode())
            # Without TLS there is nothing to talk to.
            with self.assertRaises(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{server.port}/health", timeout=10)
            # A broken file changes nothing; a good pair is used by new connections.
            pathlib.Path(self.home, "server.crt").write_text("nonsense")
            time.sleep(1.2)
            self.fetch(server, first)
            self.assertIn("the old one stays in use", self.until_logged(server, "stays in use"))
            certificate(self.home, "two")
            time.sleep(1.2)
            self.fetch(server, f"{self.home}/server.crt")
            with self.assertRaises(urllib.error.URLError):
                self.fetch(server, first)

    def until_logged(self, server, text):
        deadline = time.monotonic() + 10 * TIME_SCALE
        while text not in server.output() and time.monotonic() < deadline:
            time.sleep(0.1)
        return server.output()

    def test_tls_files_that_cannot_be_used(self):
        for pair, words in ((("--tls-cert", "x.crt"), "belong together"),
                            (("--tls-cert", "/nowhere.crt", "--tls-key", "/nowhere.key"), "/nowhere.crt")):
            done = run_barn("up", *pair, "--listen", "127.0.0.1:0", check=False, env={"BARN_HOME": self.home})
            self.assertEqual(done.returncode, 1)
            self.assertIn(words, done.stderr)


if __name__ == "__main__":
    unittest.main()
