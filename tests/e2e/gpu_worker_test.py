"""Workers with a GPU under a real coordinator, and what the product says of GPUs. The GPU is simulated (the program
barn_simulated); tests/gpu_first_run.sh runs the class GpuWorker on a real one, BARN_TEST_GPU=cuda:0."""
import json
import os
import re
import subprocess
import unittest

PRODUCT = os.environ["BARN_BINARY"]
DEVICE = os.environ.get("BARN_TEST_GPU", "simt:0")
if DEVICE.startswith("simt:"):
    os.environ["BARN_BINARY"] = os.environ["BARN_SIMULATED"]

from barn_process import SHARED, TIME_SCALE, Server, free_port, run_barn, run_json  # noqa: E402

F16 = SHARED / "models" / "tiny-moe-f16.gguf"
ORACLE = json.loads((SHARED / "models" / "reference.json").read_text())
GPU = ("--device", DEVICE, "--memory", "192MiB", "--context", 512)
GREEDY = 6
# F16 weights meet F32 activations and an F32 cache on both devices (BARN_ACTIVATIONS=f32), so that only the order of
# sums differs: what oracles/arch asks of F32 arithmetic.
EXACT = {"BARN_ACTIVATIONS": "f32"}
TOLERANCE = 1e-3


def logits(model, prompt, *device, env=None):
    tokens = ",".join(map(str, prompt["token_ids"]))
    return run_json("logits", model, "--tokens", tokens, "--greedy", GREEDY, "--top", 1000, *device, env=env)


class GpuWorker(unittest.TestCase):
    def assert_near(self, gpu, cpu):
        mine, other = ({row["id"]: row["logit"] for row in out["top"]} for out in (gpu, cpu))
        common = mine.keys() & other.keys()
        self.assertGreater(len(common), 990)  # At the end of a list, almost equal logits may change places.
        self.assertLess(max(abs(mine[i] - other[i]) for i in common), TOLERANCE)
        self.assertEqual(gpu["greedy_ids"], cpu["greedy_ids"])

    def test_f16_equals_the_cpu(self):
        prompt = ORACLE["greedy_F16"][0]
        self.assert_near(logits(F16, prompt, *GPU, env=EXACT), logits(F16, prompt, env=EXACT))

    def test_experts_that_do_not_fit_lie_with_the_host(self):
        """58.1 MiB are needed and a worker offers 97 %: the experts of two layers, 12 MiB, do not fit. Without memory of
        the host the plan is refused, with both numbers."""
        small = ("--device", DEVICE, "--memory", "52MiB", "--context", 512)
        prompt = ORACLE["greedy_F16"][0]
        self.assert_near(logits(F16, prompt, *small, "--host-memory", "64MiB", env=EXACT), logits(F16, prompt, env=EXACT))
        tokens = ",".join(map(str, prompt["token_ids"]))
        done = run_barn("logits", F16, "--tokens", tokens, *small, "--host-memory", "1MiB", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"of 50\.4 MiB on the GPU and, for experts, \S+ MiB of 1\.00 MiB on its host")

    def test_two_gpus_as_a_pipeline(self):
        prompt = ORACLE["greedy_F16"][1]
        self.assert_near(logits(F16, prompt, *GPU, "--workers", 2, env=EXACT), logits(F16, prompt, env=EXACT))

    def test_embedded_model(self):
        """Activations of 8 bits round differently: only a small recorded gap excuses another token."""
        prompt = ORACLE["greedy_Q4_K_M"][0]
        ids = logits("tiny-moe", prompt, *GPU)["greedy_ids"]
        at = next((i for i, (a, b) in enumerate(zip(ids, prompt["greedy_ids"])) if a != b), None)
        if at is not None:
            self.assertLess(prompt["greedy_margins"][at], 1.0, at)

    def test_a_gpu_and_a_cpu_under_one_plan(self):
        """The coordinator gives layers to both, for throughput, as one stream is served faster by one of them; what they
        answer over HTTP is what the CPU alone answers."""
        address, secret = f"127.0.0.1:{free_port()}", {"BARN_TOKEN": "a-token-for-tests"}
        body = {"prompt": ORACLE["greedy_F16"][2]["prompt"], "max_tokens": GREEDY, "temperature": 0, "logprobs": 2}
        environment = {**secret, **EXACT}
        with Server(F16, "--threads", 1, env=EXACT) as server:
            alone = server.post("/v1/completions", body)[1]["choices"][0]
        workers = [("--device", DEVICE, "--memory", "192MiB", "--name", "gpu"), ("--threads", "1", "--memory", "150MB",
                                                                                  "--name", "cpu")]
        with Server(F16, "--expect-workers", 2, "--cluster-listen", address, "--context", 512, "--objective",
                    "throughput", command="serve", env=environment, wait_ready=False) as server:
            running = [subprocess.Popen([os.environ["BARN_BINARY"], "worker", "--join", address, *arguments],
                                        env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True)
                       for arguments in workers]
            try:
                server.wait_ready()
                state = json.loads(run_barn("status", "--join", address, "--json", env=secret))
                mixed = server.post("/v1/completions", body)[1]["choices"][0]
            finally:
                for worker in running:
                    worker.terminate()
                    self.assertEqual(worker.communicate(timeout=20 * TIME_SCALE)[1].count("Sanitizer"), 0)
        devices = {worker["name"]: worker["device"] for worker in state["workers"]}
        self.assertTrue(devices["gpu"].startswith(DEVICE + " ") and devices["gpu"].endswith(", 192 MiB"), devices)
        self.assertRegex(devices["cpu"], r"^cpu ")
        self.assertEqual(sorted(worker["stage"] for worker in state["workers"]), [0, 1])
        self.assertEqual(mixed["logprobs"]["tokens"], alone["logprobs"]["tokens"])
        for a, b in zip(mixed["logprobs"]["token_logprobs"], alone["logprobs"]["token_logprobs"]):
            self.assertAlmostEqual(a, b, delta=2 * TOLERANCE)  # Of the logit and of logsumexp.


class Devices(unittest.TestCase):
    def run_product(self, *arguments):
        return subprocess.run([PRODUCT, *arguments], capture_output=True, text=True, timeout=60 * TIME_SCALE)

    def test_list(self):
        listed = json.loads(self.run_product("devices", "--json").stdout)
        self.assertEqual((listed[0]["name"], listed[0]["usable"]), ("cpu", True))
        self.assertTrue(listed[0]["description"].startswith("cpu "))
        self.assertGreaterEqual(len(listed), 2)
        for device in listed[1:]:
            self.assertRegex(device["name"], r"^cuda(:\d+)?$")
            self.assertEqual(device["usable"], device["missing"] == "")
        text = self.run_product("devices").stdout
        self.assertEqual([line.split()[0] for line in text.splitlines()], [device["name"] for device in listed])
        simulated = run_json("devices")
        self.assertEqual([device["name"] for device in simulated], ["cpu", "simt:0", "simt:1"])

    def test_missing_gpu(self):
        listed = json.loads(self.run_product("devices", "--json").stdout)
        if any(device["name"] == "cuda:0" and device["usable"] for device in listed):
            return  # This machine has what the rest of the test misses.
        done = self.run_product("worker", "--join", "127.0.0.1:1", "--device", "cuda:0")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, f"barn worker: cuda:0: {listed[1]['missing']}\n")
        self.assertRegex(done.stderr, "driver not found|without kernels for GPUs|no GPU|needs")

    def test_unknown_device(self):
        for name in ("simt:0", "cuda", "cuda:x", "cuda:-1", "tpu:0", ""):
            done = self.run_product("worker", "--join", "127.0.0.1:1", "--device", name)
            self.assertEqual(done.returncode, 1, name)
            self.assertTrue(re.match(r'barn worker: (no device is called "|cuda)', done.stderr), done.stderr)
        done = run_barn("worker", "--join", "127.0.0.1:1", "--device", "simt:7", check=False)
        self.assertEqual(done.stderr, "barn worker: simt:7: the last GPU of this machine is simt:1\n")

    def test_a_local_worker_that_cannot_start(self):
        done = run_barn("run", "tiny-moe", "Hello", "--device", "simt:9", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("simt:9: the last GPU of this machine is simt:1", done.stderr)


if __name__ == "__main__":
    unittest.main()
