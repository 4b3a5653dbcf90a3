"""Several models in one cluster: named, loaded on demand, unloaded for another, kept alive; with a worker that dies."""
import concurrent.futures
import http.client
import http.server
import json
import os
import pathlib
import random
import re
import shutil
import signal
import tempfile
import threading
import time
import unittest

import ollama

from barn_process import GEMMA, SHARED, TIME_SCALE, Server, free_port, run_barn
from lora_files import Lora
from remote_test import RangeHandler

TINY = SHARED / "models/tiny-moe-Q4_K_M.gguf"
ORACLES = SHARED / "oracles/arch"
PROMPT = "a b c"
CONTEXT = 512
MIB = 1 << 20


def eventually(condition, seconds=20):
    deadline = time.monotonic() + seconds * TIME_SCALE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Models(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)
        shutil.copy(TINY, cls.path / "tiny.gguf")
        for name in ("mixtral-f32", "gemma3-f32"):
            shutil.copy(ORACLES / f"{name}.gguf", cls.path / f"{name}.gguf")
        (cls.path / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
        cls.right = {name: cls.alone(cls.path / f"{name}.gguf") for name in ("tiny", "mixtral-f32", "gemma3-f32")}
        with cls.serve("--memory", "1GiB") as server:
            for name in cls.right:
                assert server.post("/models/load", {"model": name})[0] == 200, server.output()
            cls.bytes = {name: cls.standing(server, name)["memory_bytes"] for name in cls.right}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @staticmethod
    def alone(path, **options):
        return json.loads(run_barn("run", path, PROMPT, "-n", 12, "--temperature", 0, "--json", **options))["text"]

    @classmethod
    def serve(cls, *more, **options):
        return Server("--models-dir", cls.path, "--context", CONTEXT, *more, **options)

    @staticmethod
    def standing(server, name):
        return server.get(f"/v1/models/{name}")[1]["barn"]

    @classmethod
    def loaded(cls, server):
        return {m["id"] for m in server.get("/v1/models")[1]["data"] if m["barn"].get("state") == "loaded"}

    @staticmethod
    def ask(server, model, **more):
        body = {"model": model, "prompt": PROMPT, "max_tokens": 12, "temperature": 0, **more}
        return server.post("/v1/completions", body)

    def expect_answer(self, server, model):
        status, body = self.ask(server, model)
        self.assertEqual(status, 200, body)
        self.assertEqual(body["model"], model)
        self.assertEqual(body["choices"][0]["text"], self.right[model])

    def room_for(self, *names, slack=0.5):
        """Memory of one worker that holds these, and not one more."""
        return str(int(sum(self.bytes[name] for name in names) + slack * min(self.bytes.values())))

    def test_lists_and_names(self):
        with self.serve("--memory", "1GiB") as server:
            listed = {m["id"]: m for m in server.get("/v1/models")[1]["data"]}
            self.assertEqual(set(listed), {"tiny", "mixtral-f32", "gemma3-f32", "broken"})
            self.assertEqual({m["barn"]["state"] for m in listed.values()} - {"failed"}, {"unloaded"})
            self.expect_answer(server, "mixtral-f32")
            self.expect_answer(server, "tiny")
            self.assertEqual(self.loaded(server), {"mixtral-f32", "tiny"})
            status, error = self.ask(server, "nobody")
            self.assertEqual((status, error["error"]["code"]), (404, "model_not_found"))
            status, error = server.post("/v1/messages", {"model": "nobody", "max_tokens": 1,
                                                         "messages": [{"role": "user", "content": "a"}]})
            self.assertEqual((status, error["error"]["type"]), (404, "not_found_error"))
            status, error = server.post("/api/chat", {"model": "nobody", "messages": []})
            self.assertEqual((status, error), (404, {"error": "model 'nobody' not found"}))
            status, error = server.post("/v1/completions", {"prompt": "a"})
            self.assertEqual((status, error["error"]["param"]), (400, "model"))
            status, counted = server.post("/tokenize", {"model": "gemma3-f32", "content": "a b"})
            self.assertEqual(status, 200, counted)
            self.assertEqual(self.standing(server, "gemma3-f32")["state"], "unloaded")  # Its header is enough.
            # A file that comes is a model; one that goes is none.
            shutil.copy(self.path / "mixtral-f32.gguf", self.path / "new.gguf")
            self.assertTrue(eventually(lambda: self.ask(server, "new")[0] == 200))
            (self.path / "new.gguf").unlink()
            self.assertTrue(eventually(lambda: server.get("/v1/models/new")[0] == 404))
            metrics = server.get("/metrics")[1]
            self.assertRegex(metrics, r'barn_generated_tokens_total\{model="tiny"\} 12\n')
            self.assertIn('barn_ready{model="gemma3-f32"} 0\n', metrics)
            self.assertIn('vllm:generation_tokens_total{model_name="mixtral-f32"} 12\n', metrics)

    def test_one_that_fails_leaves_the_others(self):
        with self.serve("--memory", self.room_for("mixtral-f32")) as server:
            self.expect_answer(server, "mixtral-f32")
            status, error = self.ask(server, "broken")
            self.assertEqual(status, 500)
            self.assertIn("the model 'broken' cannot be loaded: ", error["error"]["message"])
            status, error = self.ask(server, "tiny")  # Too large for the worker.
            self.assertEqual((status, error["error"]["code"]), (500, "model_not_loadable"))
            self.assertEqual(self.standing(server, "tiny")["state"], "failed")
            self.assertIn("bytes", self.standing(server, "tiny")["error"])
            self.assertEqual(self.loaded(server), {"mixtral-f32"})
            self.expect_answer(server, "mixtral-f32")
            self.assertEqual(server.get("/ready")[0], 200)

    def test_the_longest_unused_makes_room(self):
        with self.serve("--memory", self.room_for("mixtral-f32", "gemma3-f32")) as server:
            self.expect_answer(server, "mixtral-f32")
            self.expect_answer(server, "gemma3-f32")
            self.assertEqual(self.loaded(server), {"mixtral-f32", "gemma3-f32"})
            self.expect_answer(server, "mixtral-f32")
            server.post("/api/copy", {"source": "mixtral-f32", "destination": "another"})
            self.assertEqual(self.ask(server, "another")[1]["choices"][0]["text"], self.right["mixtral-f32"])
            self.assertEqual(self.loaded(server), {"mixtral-f32", "another", "gemma3-f32"})  # One model, two names.
        with self.serve("--memory", self.room_for("tiny"), "--pin", "mixtral-f32") as server:
            self.assertTrue(eventually(lambda: self.loaded(server) >= {"mixtral-f32"}))
            self.assertEqual(self.ask(server, "tiny")[0], 500)  # Beside the pinned one there is no room.
            self.expect_answer(server, "gemma3-f32")
            self.assertTrue(self.standing(server, "mixtral-f32")["pinned"])

    def test_many_users_and_a_worker_that_dies(self):
        # Each worker has room for a share of the largest, or of the two others.
        memory = str(int(max(self.bytes["tiny"], self.bytes["mixtral-f32"] + self.bytes["gemma3-f32"]) * 0.8))
        with self.serve("--memory", memory, "--workers", 2, "-t", 1) as server:
            names = random.Random(3).choices(list(self.right), k=60)

            def use(index):
                if index == 20:
                    os.kill(server.workers()[0], signal.SIGKILL)
                return names[index], self.ask(server, names[index])

            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                for name, (status, body) in pool.map(use, range(len(names))):
                    self.assertEqual(status, 200, body)
                    self.assertEqual(body["choices"][0]["text"], self.right[name])
            self.assertIn("ended; starting it again", server.output())

    def stream(self, server, path, body, seen):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120 * TIME_SCALE)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        for line in response:
            seen.append(line.decode().rstrip("\n"))
        connection.close()
        return response.status

    def test_streams_hear_what_they_wait_for(self):
        with self.serve("--model", f"gemma={GEMMA}", "--memory", "700MiB") as large:
            large.post("/models/load", {"model": "gemma"})
            need = self.standing(large, "gemma")["memory_bytes"]
            small = str(int(need + 0.5 * min(self.bytes.values())))
        with self.serve("--model", f"gemma={GEMMA}", "--memory", small) as server:
            self.assertEqual(server.post("/models/load", {"model": "gemma"})[0], 200)
            first, events, lines = [], [], []
            body = {"model": "gemma", "prompt": PROMPT, "max_tokens": 450, "temperature": 0, "stream": True,
                    "ignore_eos": True}
            threads = [threading.Thread(target=self.stream, args=(server, "/v1/completions", body, first))]
            threads[0].start()
            self.assertTrue(eventually(lambda: len(first) > 4))
            threads.append(threading.Thread(target=self.stream, args=(
                server, "/v1/completions", {"model": "mixtral-f32", "prompt": PROMPT, "max_tokens": 12,
                                            "temperature": 0, "stream": True}, events)))
            threads.append(threading.Thread(target=self.stream, args=(
                server, "/api/generate", {"model": "gemma3-f32", "prompt": PROMPT, "raw": True}, lines)))
            for thread in threads[1:]:
                thread.start()
            status, refused = self.request_with(server, {"model": "mixtral-f32", "prompt": PROMPT}, "wait=0")
            self.assertEqual((status, refused["error"]["code"]), (503, "model_loading"))
            self.assertIn("Retry-After", server.last_headers)
            for thread in threads:
                thread.join()
            self.assertEqual(events[-2], "data: [DONE]")
            comments = [line for line in events if line.startswith(":")]
            self.assertTrue(comments and all(re.match(r": (loading \d+%|waiting for .+)$", c) for c in comments), events)
            text = "".join(json.loads(line[6:])["choices"][0]["text"] for line in events
                           if line.startswith("data: {"))
            self.assertEqual(text, self.right["mixtral-f32"])
            self.assertTrue(json.loads(lines[-1])["done"])  # Every line is an object.
            self.assertEqual(first[-2], "data: [DONE]")

    def request_with(self, server, body, prefer):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60 * TIME_SCALE)
        connection.request("POST", "/v1/completions", json.dumps(body), {"Prefer": prefer})
        response = connection.getresponse()
        server.last_headers = dict(response.getheaders())
        answer = response.status, json.loads(response.read())
        connection.close()
        return answer

    def test_ollama(self):
        with self.serve("--memory", "1GiB") as server:
            client = ollama.Client(host=f"http://127.0.0.1:{server.port}")
            self.assertTrue(eventually(lambda: all(
                m.details.family for m in client.list().models if m.model != "broken")))
            self.assertEqual({m.model for m in client.list().models}, {"tiny", "mixtral-f32", "gemma3-f32", "broken"})
            self.assertEqual(client.ps().models, [])
            self.assertEqual(client.generate("tiny").done_reason, "load")
            running = client.ps().models
            self.assertEqual([m.model for m in running], ["tiny"])
            self.assertGreater(running[0].size, TINY.stat().st_size)
            left = running[0].expires_at.timestamp() - time.time()
            self.assertTrue(240 < left <= 301, left)
            options = {"temperature": 0, "num_predict": 12}
            answer = client.generate("mixtral-f32:latest", PROMPT, raw=True, options=options, keep_alive="1h")
            self.assertEqual(answer.response, self.right["mixtral-f32"])
            self.assertTrue(eventually(lambda: len(client.ps().models) == 2))
            left = {m.model: m.expires_at.timestamp() - time.time() for m in client.ps().models}["mixtral-f32"]
            self.assertTrue(3500 < left <= 3601, left)
            client.generate("mixtral-f32", PROMPT, options=options, keep_alive=-1)
            self.assertTrue(eventually(lambda: {m.model: m.expires_at.timestamp() for m in client.ps().models}[
                "mixtral-f32"] > time.time() + 24 * 3600))
            client.generate("mixtral-f32", PROMPT, options=options, keep_alive=0)
            self.assertTrue(eventually(lambda: [m.model for m in client.ps().models] == ["tiny"]))
            self.assertEqual(client.generate("tiny", keep_alive=0).done_reason, "unload")
            self.assertTrue(eventually(lambda: client.ps().models == []))
            client.generate("gemma3-f32", PROMPT, options=options, keep_alive="300ms")
            self.assertTrue(eventually(lambda: client.ps().models == []))
            self.assertEqual(client.show("gemma3-f32").details.family, "gemma3")

    def test_ollama_store(self):
        files = RangeServer()
        with tempfile.TemporaryDirectory() as folder, files:
            shutil.copy(self.path / "mixtral-f32.gguf", pathlib.Path(folder, "a.gguf"))
            pathlib.Path(folder, "sub").mkdir()
            shutil.copy(self.path / "gemma3-f32.gguf", pathlib.Path(folder, "sub/b.gguf"))
            options = {"temperature": 0, "num_predict": 12}

            def text(client, name):
                return client.generate(name, PROMPT, raw=True, options=options).response

            with Server("--models-dir", folder, "--memory", "1GiB", "--context", CONTEXT) as server:
                client = ollama.Client(host=f"http://127.0.0.1:{server.port}")
                self.assertEqual(client.copy("a", "second").status, "success")
                self.assertEqual(client.create("third", from_="sub/b.gguf").status, "success")
                stages = [stage.status for stage in client.pull(files.url, stream=True)]
                self.assertEqual(stages[-1], "success")
                self.assertEqual(text(client, "second"), self.right["mixtral-f32"])
                self.assertEqual(text(client, "third"), self.right["gemma3-f32"])
                self.assertEqual(text(client, "tiny-moe"), self.right["tiny"])
                for refused, status in ((lambda: client.pull("nothing-here"), 404),
                                        (lambda: client.pull("http://127.0.0.1:1/x.gguf"), 503),
                                        (lambda: client.create("x", from_="../../etc/passwd"), 404),
                                        (lambda: client.copy("nothing", "x"), 404),
                                        (lambda: client.copy("a", "sub"), 409),
                                        (lambda: client.delete("nothing"), 404),
                                        (lambda: client.delete("a"), 403)):
                    with self.assertRaises(ollama.ResponseError) as error:
                        refused()
                    self.assertEqual(error.exception.status_code, status, error.exception)
                self.assertEqual(client.delete("third").status, "success")
                self.assertEqual({m.model for m in client.list().models}, {"a", "sub", "second", "tiny-moe"})
            with Server("--models-dir", folder, "--memory", "1GiB", "--context", CONTEXT) as server:
                client = ollama.Client(host=f"http://127.0.0.1:{server.port}")
                self.assertEqual(text(client, "second"), self.right["mixtral-f32"])  # Names outlive the server.
                client.delete("second")
                client.delete("a")
                self.assertFalse(pathlib.Path(folder, "a.gguf").exists())
                self.assertEqual({m.model for m in client.list().models}, {"sub", "tiny-moe"})

    def test_admins_only(self):
        with tempfile.TemporaryDirectory() as home:
            environment = {"BARN_HOME": home}
            user = run_barn("key", "create", "--name", "u", env=environment).strip()
            admin = run_barn("key", "create", "--name", "a", "--role", "admin", env=environment).strip()
            with self.serve("--memory", "1GiB", "--keys", f"{home}/keys.db", wait_ready=False) as server:
                server.wait_ready()

                def post(key, path, body, method="POST"):
                    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60 * TIME_SCALE)
                    connection.request(method, path, json.dumps(body), {"Authorization": f"Bearer {key}"})
                    status = connection.getresponse().status
                    connection.close()
                    return status

                tiny = {"model": "tiny"}
                for path in ("/models/load", "/models/unload", "/v1/models/load", "/api/create", "/api/pull"):
                    self.assertEqual(post(user, path, tiny), 403, path)
                self.assertEqual(post(user, "/api/delete", tiny, "DELETE"), 403)
                self.assertEqual(post(user, "/v1/completions", {**tiny, "prompt": "a", "max_tokens": 1}), 200)
                self.assertEqual(post(admin, "/models/unload", tiny), 200)
                self.assertEqual(post(admin, "/models/load", {"model": "mixtral-f32"}), 200)

    def test_adapters_belong_to_their_model(self):
        base, exact = SHARED / "models/tiny-moe-f16.gguf", {"BARN_ACTIVATIONS": "f32"}
        with tempfile.TemporaryDirectory() as folder:
            lora = Lora(base, 4, 8.0, seed=1)
            red = lora.write_gguf(pathlib.Path(folder, "red.gguf"))
            right = {"base": self.alone(base, env=exact),
                     "red": self.alone(lora.write_merged(pathlib.Path(folder, "merged.gguf")), env=exact)}
            self.assertNotEqual(right["base"], right["red"])
            with self.serve("--model", f"base={base}", "--memory", "1GiB", env=exact) as server:
                load = {"lora_name": "red", "lora_path": str(red)}
                for refused in (load, {**load, "model": "gemma3-f32"}, {**load, "model": "base", "lora_name": "tiny"}):
                    status, error = server.post("/v1/load_lora_adapter", refused)
                    self.assertEqual(status, 400, error)
                self.assertEqual(server.post("/v1/load_lora_adapter", {**load, "model": "base"})[0], 200)
                self.assertEqual(server.post("/v1/load_lora_adapter", {**load, "model": "tiny"})[0], 400)  # Taken.
                entries = {entry["id"]: entry for entry in server.get("/v1/models")[1]["data"]}
                self.assertEqual(entries["red"]["parent"], "base")
                self.assertEqual([a["model"] for a in server.get("/lora-adapters")[1]], ["base"])
                self.assertEqual(server.post("/lora-adapters", [{"id": 0, "scale": 1}])[0], 400)
                for again in range(2):
                    for name, text in right.items():
                        status, body = self.ask(server, name)
                        self.assertEqual((status, body["model"]), (200, name), body)
                        self.assertEqual(body["choices"][0]["text"], text)
                    # Unloaded with its model, it comes back with it.
                    self.assertEqual(server.post("/models/unload", {"model": "base"})[0], 200)
                    self.assertTrue(eventually(lambda: "base" not in self.loaded(server)))
                self.assertEqual(server.post("/v1/unload_lora_adapter", {"lora_name": "red"})[0], 200)
                self.assertEqual(self.ask(server, "red")[0], 404)

    def test_pages_of_a_browser_change_no_models(self):
        with self.serve("--memory", "1GiB") as server:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60 * TIME_SCALE)
            connection.request("POST", "/api/pull", json.dumps({"model": "http://127.0.0.1:1/x.gguf"}),
                               {"Origin": "http://elsewhere.example"})
            self.assertEqual(connection.getresponse().status, 403)
            connection.close()

    def test_settings_file_and_status(self):
        port = free_port()
        with tempfile.TemporaryDirectory() as folder:
            config = pathlib.Path(folder, "barn.toml")
            config.write_text(f"""
[up]
context = {CONTEXT}
[[models]]
name = "small"
path = "{self.path}/mixtral-f32.gguf"
pinned = true
[[models]]
path = "{self.path}/gemma3-f32.gguf"
keep_alive = "1s"
context = 256
""")
            with Server("--cluster-listen", f"127.0.0.1:{port}", command=["--config", str(config), "up"],
                        env={"BARN_TOKEN": "secret"}) as server:
                self.assertEqual(self.loaded(server), {"small"})
                status = run_barn("status", "--join", f"127.0.0.1:{port}", env={"BARN_TOKEN": "secret"})
                self.assertRegex(status, r"small: loaded, .*, pinned\n")
                self.expect_answer(server, "gemma3-f32")
                self.assertEqual(self.loaded(server), {"small", "gemma3-f32"})
                self.assertTrue(eventually(lambda: self.loaded(server) == {"small"}))
                state = json.loads(run_barn("status", "--join", f"127.0.0.1:{port}", "--json",
                                            env={"BARN_TOKEN": "secret"}))
                self.assertEqual({m["model"]: m["state"] for m in state["models"]},
                                 {"small": "loaded", "gemma3-f32": "unloaded"})
            config.write_text('[[models]]\nname = "x"\n')
            refused = run_barn("--config", config, "up", check=False)
            self.assertEqual(refused.returncode, 2)
            self.assertIn("has no path", refused.stderr)
        refused = run_barn("up", TINY, self.path / "tiny.gguf", "--pin", "nobody", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("there is no model 'nobody' to pin", refused.stderr)
        refused = run_barn("up", self.path / "tiny.gguf", "--model", self.path / "tiny.gguf", check=False)
        self.assertIn("two models are called 'tiny'", refused.stderr)


class RangeServer:
    """The embedded model behind HTTP."""

    def __enter__(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RangeHandler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/tiny-moe.gguf"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


if __name__ == "__main__":
    unittest.main()
