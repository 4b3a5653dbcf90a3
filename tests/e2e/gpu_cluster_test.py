"""Workers with GPUs that share every layer, under a real coordinator: processes of their own, each with a simulated GPU,
which exchange by the stand-in for NCCL. What keeps them from it makes a pipeline of them, and the log says why."""
import json
import os
import subprocess
import unittest

os.environ["BARN_BINARY"] = os.environ["BARN_SIMULATED"]

from barn_process import SHARED, TIME_SCALE, Server, check_sanitizers, free_port, run_barn  # noqa: E402

F16 = SHARED / "models" / "tiny-moe-f16.gguf"
ORACLE = json.loads((SHARED / "models" / "reference.json").read_text())
SECRET = {"BARN_TOKEN": "a-token-for-tests"}
# F16 weights meet F32 activations and an F32 cache everywhere, so that only the order of sums differs.
EXACT = {"BARN_ACTIVATIONS": "f32"}
NCCL = {"BARN_NCCL": os.environ["BARN_TEST_NCCL"]}
BODY = {"prompt": ORACLE["greedy_F16"][2]["prompt"], "max_tokens": 6, "temperature": 0, "logprobs": 2}
TOLERANCE = 2e-3  # Of a logit and of logsumexp, 1e-3 each.


class Cluster:
    """A coordinator and two workers, each a list of arguments and an environment of its own."""

    def __init__(self, workers, *arguments):
        self.address = f"127.0.0.1:{free_port()}"
        self.server = Server(F16, "--expect-workers", 2, "--cluster-listen", self.address, "--context", 512,
                             *arguments, command="serve", env={**SECRET, **EXACT}, wait_ready=False)
        self.workers = [subprocess.Popen(
            [os.environ["BARN_BINARY"], "worker", "--join", self.address, "--memory", "192MiB", *words],
            env={**os.environ, **SECRET, **EXACT, **environment}, stderr=subprocess.PIPE, text=True)
            for words, environment in workers]

    def __enter__(self):
        self.server.wait_ready()
        return self

    def __exit__(self, *_):
        errors = []
        for worker in self.workers:
            worker.terminate()
            errors.append(worker.communicate(timeout=20 * TIME_SCALE)[1])
        self.server.close()
        for error in errors:
            check_sanitizers(error)

    def stages(self):
        state = json.loads(run_barn("status", "--join", self.address, "--json", env=SECRET))
        return sorted(worker["stage"] for worker in state["workers"])

    def answer(self):
        status, body = self.server.post("/v1/completions", BODY)
        if status != 200:
            raise AssertionError(f"{status}: {body}; {self.server.output()}")
        return body["choices"][0]


def gpu(index, **environment):
    return ["--device", f"simt:{index}", "--name", f"gpu-{index}"], environment


class GpuRanks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with Server(F16, "--threads", 1, env=EXACT) as server:
            cls.alone = server.post("/v1/completions", BODY)[1]["choices"][0]

    def assert_as_alone(self, answer):
        self.assertEqual(answer["logprobs"]["tokens"], self.alone["logprobs"]["tokens"])
        for a, b in zip(answer["logprobs"]["token_logprobs"], self.alone["logprobs"]["token_logprobs"]):
            self.assertAlmostEqual(a, b, delta=TOLERANCE)

    def check_pipeline(self, workers, reason):
        with Cluster(workers) as cluster:
            self.assertEqual(cluster.stages(), [0, 1])
            self.assert_as_alone(cluster.answer())
            self.assertIn(reason, cluster.server.output())

    def test_two_gpus_share_every_layer(self):
        with Cluster([gpu(0, **NCCL), gpu(1, **NCCL)]) as cluster:
            self.assertEqual(cluster.stages(), [0, 0])
            self.assert_as_alone(cluster.answer())
            self.assertIn("plan: ranks that share every layer", cluster.server.output())

    def test_a_gpu_that_hangs(self):
        """The epoch ends, the next one answers the same request with the same tokens."""
        environment = {**NCCL, "BARN_EXCHANGE_WAIT": str(10 * TIME_SCALE)}
        with Cluster([gpu(0, **environment), gpu(1, **environment, BARN_SIMT_NCCL="silent=1:60")]) as cluster:
            self.assertEqual(cluster.stages(), [0, 0])
            self.assert_as_alone(cluster.answer())
            self.assertEqual(cluster.server.metrics()["barn_requests_recovered_total"], 1)

    def test_nccl_is_missing(self):
        self.check_pipeline([gpu(0, **NCCL), gpu(1)], "gpu-1 cannot be a rank: NCCL: none for simt:1 simulated")
        self.check_pipeline([gpu(0, **NCCL), gpu(1, BARN_NCCL="libnccl-of-nobody.so")],
                            "gpu-1 cannot be a rank: NCCL: libnccl-of-nobody.so: cannot open shared object file")

    def test_another_version(self):
        self.check_pipeline([gpu(0, **NCCL), gpu(1, **NCCL, BARN_SIMT_NCCL="version=22703")],
                            "gpu-0 exchanges by NCCL 2.28.9, gpu-1 by NCCL 2.27.3")

    def test_one_gpu_twice(self):
        self.check_pipeline([gpu(0, **NCCL), (["--device", "simt:0", "--name", "again"], NCCL)],
                            "again and gpu-0 compute on one GPU")

    def test_nccl_does_not_start(self):
        """Once it is clear that it never does, the workers form a pipeline."""
        self.check_pipeline([gpu(0, **NCCL), gpu(1, **NCCL, BARN_SIMT_NCCL="fail-init=1")],
                            "gpu-1 cannot be a rank: NCCL: joining the other ranks: unhandled cuda error")


if __name__ == "__main__":
    unittest.main()
