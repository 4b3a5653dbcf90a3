"""Low-rank adapters of the real program: what merged weights answer, chosen per request, loaded while serving."""
import concurrent.futures
import json
import os
import pathlib
import signal
import tempfile
import time
import unittest

from barn_process import SHARED, TIME_SCALE, Server, run_barn, run_json
from lora_files import Lora

MODEL = SHARED / "models" / "tiny-moe-f16.gguf"
EXACT = {"BARN_ACTIVATIONS": "f32"}
PROMPTS = ["The function returns", "To install a package", "In the year", "A list of"]
# Longer than two blocks of the prefix cache.
LONG = " ".join(["When the user opens the file, the function returns a list of names."] * 8)


class Adapters(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        path = pathlib.Path(cls.folder.name)
        red, blue = Lora(MODEL, 4, 8.0, seed=1), Lora(MODEL, 16, 16.0, seed=2)
        cls.red, cls.blue = red.write_gguf(path / "red.gguf"), blue.write_gguf(path / "blue.gguf")
        cls.peft = red.write_peft(path / "red-peft")
        cls.merged = {"base": MODEL, "red": red.write_merged(path / "merged-red.gguf"),
                      "blue": blue.write_merged(path / "merged-blue.gguf"),
                      "half": red.write_merged(path / "merged-half.gguf", 0.5)}
        cls.wanted = {}
        for name, model in cls.merged.items():
            with Server(model, env=EXACT) as server:
                cls.wanted[name] = [cls.answer(server, None, prompt) for prompt in PROMPTS + [LONG]]
        for name in ("red", "blue", "half"):
            assert cls.wanted[name] != cls.wanted["base"], "the adapter changes nothing"

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @staticmethod
    def answer(server, model, prompt, **fields):
        """Greedy ids and the log probabilities behind them."""
        body = {"prompt": prompt, "max_tokens": 12, "temperature": 0, "logprobs": 1, "ignore_eos": True, **fields}
        status, reply = server.post("/v1/completions", {**body, "model": model} if model else body)
        assert status == 200, reply
        choice = reply["choices"][0]
        return choice["text"], choice["logprobs"]["token_logprobs"]

    def check(self, got, want):
        """F32 arithmetic in another order: up to the first near tie the same tokens, 1e-3 apart at most."""
        self.assertEqual(got[0], want[0])
        self.assertLess(max(abs(a - b) for a, b in zip(got[1], want[1])), 1e-3)

    def check_all(self, server, name, model, **fields):
        for prompt, want in zip(PROMPTS + [LONG], self.wanted[name]):
            self.check(self.answer(server, model, prompt, **fields), want)

    def test_adapters_answer_as_merged_models_do(self):
        for arguments in (["--workers", 1], ["--workers", 2, "--objective", "latency"],
                          ["--workers", 2, "--objective", "throughput"]):
            with self.subTest(arguments), Server(MODEL, *arguments, "--lora", f"red={self.red}", "--lora",
                                                 f"half={self.red}:0.5", env=EXACT) as server:
                self.check_all(server, "red", "red")
                self.check_all(server, "half", "half")
                self.check_all(server, "base", None)
                self.check_all(server, "base", "tiny-moe-f16")

    def test_loaded_and_unloaded_while_serving(self):
        with Server(MODEL, "--workers", 2, env=EXACT) as server:
            status, reply = server.post("/v1/completions", {"model": "red", "prompt": "x"})
            self.assertEqual((status, reply["error"]["code"]), (404, "model_not_found"))
            with concurrent.futures.ThreadPoolExecutor(4) as pool:  # Nobody who runs meanwhile notices.
                running = [pool.submit(self.answer, server, None, prompt) for prompt in PROMPTS]
                status, reply = server.post("/v1/load_lora_adapter", {"lora_name": "red", "lora_path": str(self.peft)})
                self.assertEqual(status, 200, reply)
                for future, want in zip(running, self.wanted["base"]):
                    self.check(future.result(), want)
            status, reply = server.post("/v1/load_lora_adapter", {"lora_name": "blue", "lora_path": str(self.blue)})
            self.assertEqual(status, 200, reply)
            entries = {entry["id"]: entry for entry in server.get("/v1/models")[1]["data"]}
            self.assertEqual(set(entries), {"tiny-moe-f16", "red", "blue"})
            self.assertEqual(entries["red"]["parent"], "tiny-moe-f16")
            self.assertEqual(server.get("/v1/models/blue")[1]["id"], "blue")
            # Everybody in one batch.
            with concurrent.futures.ThreadPoolExecutor(15) as pool:
                jobs = [(name, i, pool.submit(self.answer, server, None if name == "base" else name, prompt))
                        for name in ("base", "red", "blue") for i, prompt in enumerate(PROMPTS + [LONG])]
                for name, i, job in jobs:
                    self.check(job.result(), self.wanted[name][i])
            # The same bits from PEFT's files as from GGUF.
            status, reply = server.post("/v1/load_lora_adapter", {"lora_name": "twin", "lora_path": str(self.red)})
            self.assertEqual(status, 200, reply)
            self.assertEqual(self.answer(server, "twin", LONG), self.answer(server, "red", LONG))
            status, reply = server.post("/v1/load_lora_adapter", {"lora_name": "red", "lora_path": str(self.red)})
            self.assertEqual(status, 400, "the name is taken")
            status, _ = server.post("/v1/unload_lora_adapter", {"lora_name": "red"})
            self.assertEqual(status, 200)
            self.assertEqual(server.post("/v1/unload_lora_adapter", {"lora_name": "red"})[0], 404)
            self.assertEqual(server.post("/v1/completions", {"model": "red", "prompt": "x"})[0], 404)
            self.check_all(server, "blue", "blue")

    def test_scales_by_number(self):
        with Server(MODEL, "--lora", f"red={self.red}", "--lora", f"blue={self.blue}", env=EXACT) as server:
            entries = server.get("/lora-adapters")[1]
            self.assertEqual([(entry["id"], entry["name"], entry["scale"]) for entry in entries],
                             [(0, "red", 0), (1, "blue", 0)])
            self.check_all(server, "half", None, lora=[{"id": 0, "scale": 0.5}])
            self.check_all(server, "blue", None, lora=[{"id": 0, "scale": 0}, {"id": 1, "scale": 1}])
            self.check_all(server, "base", "red", lora=[{"id": 0, "scale": 0}])
            self.assertEqual(server.post("/lora-adapters", [{"id": 0, "scale": 0.5}])[0], 200)
            self.check_all(server, "half", None)
            self.check_all(server, "red", "red")  # Its name still means its own scale.
            self.check_all(server, "base", None, lora=[])
            self.assertEqual(server.post("/lora-adapters", [])[0], 200)
            self.check_all(server, "base", None)
            for bad in ([{"id": 9, "scale": 1}], [{"id": -1, "scale": 1}], [{"id": 0, "scale": "x"}], {"id": 0}, [3]):
                status, reply = server.post("/v1/completions", {"prompt": "x", "lora": bad})
                self.assertEqual((status, reply["error"]["param"].split("[")[0]), (400, "lora"), bad)

    def test_chats_name_adapters_in_every_dialect(self):
        with Server(MODEL, "--lora", f"red={self.red}", env=EXACT) as server:
            chat = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4, "model": "red"}
            for path, body in (("/v1/chat/completions", chat), ("/v1/messages", chat),
                               ("/v1/responses", {"model": "red", "input": "Hello", "max_output_tokens": 16}),
                               ("/api/chat", {"model": "red", "messages": chat["messages"], "stream": False,
                                              "options": {"num_predict": 4}})):
                status, reply = server.post(path, body)
                self.assertEqual((status, reply.get("model")), (200, "red"), (path, reply))

    def test_a_lost_worker_brings_them_back(self):
        with Server(MODEL, "--workers", 2, "--lora", f"red={self.red}", env=EXACT) as server:
            status, _ = server.post("/v1/load_lora_adapter", {"lora_name": "blue", "lora_path": str(self.blue)})
            self.assertEqual(status, 200)
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                long = pool.submit(server.post, "/v1/completions", {
                    "model": "red", "prompt": PROMPTS[0], "max_tokens": 400, "temperature": 0, "ignore_eos": True})
                time.sleep(0.5)
                os.kill(server.workers()[0], signal.SIGKILL)
                status, reply = long.result()
            self.assertEqual(status, 200, reply)
            self.assertTrue(reply["choices"][0]["text"].startswith(self.wanted["red"][0][0]), reply)
            server.wait_ready()
            self.check_all(server, "red", "red")
            self.check_all(server, "blue", "blue")

    def test_what_does_not_fit_is_refused_by_name(self):
        other = Lora(MODEL, 4, 8.0, seed=3)
        a, b = other.pairs["blk.1.attn_q.weight"]
        other.pairs["blk.1.attn_q.weight"] = (a[:, :128], b)
        bad = other.write_gguf(pathlib.Path(self.folder.name) / "bad.gguf")
        with Server(MODEL, env=EXACT) as server:
            for path, word in ((bad, "blk.1.attn_q.weight"), ("/nowhere/at/all.gguf", "/nowhere/at/all.gguf"),
                               (MODEL, "general.type")):
                status, reply = server.post("/v1/load_lora_adapter", {"lora_name": "bad", "lora_path": str(path)})
                self.assertIn(status, (400, 404), reply)
                self.assertIn(word, reply["error"]["message"])
            self.assertEqual(server.post("/v1/load_lora_adapter", {"lora_name": "bad"})[0], 400)
            self.check_all(server, "base", None)
        refused = run_barn("up", MODEL, "--lora", f"bad={bad}", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("blk.1.attn_q.weight", refused.stderr)

    def test_keys_and_the_ledger(self):
        with tempfile.TemporaryDirectory() as home:
            env = {"BARN_HOME": home}
            secrets = {name: run_barn("key", "create", "--name", name, "--role", role, env=env).strip()
                       for name, role in (("ana", "user"), ("root", "admin"))}
            with Server(MODEL, "--require-keys", "--keys", f"{home}/keys.db", env=EXACT) as server:
                def post(name, path, body):
                    import http.client
                    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60 * TIME_SCALE)
                    connection.request("POST", path, json.dumps(body), {"Authorization": f"Bearer {secrets[name]}"})
                    return connection.getresponse().status

                load = {"lora_name": "red", "lora_path": str(self.red)}
                self.assertEqual(post("ana", "/v1/load_lora_adapter", load), 403)
                self.assertEqual(post("root", "/v1/load_lora_adapter", load), 200)
                self.assertEqual(post("ana", "/lora-adapters", [{"id": 0, "scale": 1}]), 403)
                self.assertEqual(post("ana", "/v1/unload_lora_adapter", {"lora_name": "red"}), 403)
                self.assertEqual(post("ana", "/v1/completions", {"model": "red", "prompt": "x", "max_tokens": 3}), 200)
            usage = run_json("usage", "--keys", f"{home}/keys.db")
            self.assertEqual([row["model"] for row in usage if row["key"] == "ana"], ["red"], usage)


if __name__ == "__main__":
    unittest.main()
