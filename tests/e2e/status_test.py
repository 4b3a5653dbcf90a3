"""`barn status` of a running cluster, and the same numbers in /metrics."""
import json
import unittest

from barn_process import Server, free_port, run_barn


class Status(unittest.TestCase):
    def test_busy_time_of_every_stage(self):
        address, secret = f"127.0.0.1:{free_port()}", {"BARN_TOKEN": "a-token-for-tests"}
        with Server("--workers", 2, "--objective", "throughput", "--cluster-listen", address, env=secret) as server:
            status, body = server.post("/v1/completions", {"prompt": "a", "max_tokens": 50, "ignore_eos": True})
            self.assertEqual(status, 200, body)
            text = run_barn("status", "--join", address, env=secret)
            state = json.loads(run_barn("status", "--join", address, "--json", env=secret))
            metrics = server.get("/metrics")[1]
            refused = run_barn("status", "--join", address, env={"BARN_TOKEN": "wrong"}, check=False)
        self.assertEqual((refused.returncode, refused.stdout), (1, ""))
        self.assertIn("the token is missing or wrong", refused.stderr)
        self.assertIn("tiny-moe: ready", text)
        self.assertEqual(text.count("% busy"), 4)
        self.assertEqual(state["generated_tokens_total"], 50)
        self.assertEqual(sorted(w["stage"] for w in state["workers"]), [0, 1])
        for worker in state["workers"]:
            for share in (worker["since_ready"], worker["recent"]):
                self.assertGreater(share["seconds"], 0)
                self.assertGreater(share["busy"], 0)
                self.assertLessEqual(share["busy"] + share["idle"], 1 + 1e-9)
            for name in ("busy_seconds_total", "wait_seconds_total", "ready_seconds_total"):
                self.assertIn(f'barn_worker_{name}{{worker="{worker["id"]}",name="{worker["name"]}"}}', metrics)

    def test_nobody_there(self):
        done = run_barn("status", "--join", f"127.0.0.1:{free_port()}", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("barn status: ", done.stderr)


if __name__ == "__main__":
    unittest.main()
