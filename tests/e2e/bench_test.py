"""`barn bench` on the embedded model: what it reports, not how fast that is."""
import unittest

from barn_process import run_barn, run_json


class Bench(unittest.TestCase):
    def check_speed(self, out, name):
        spread = out[f"{name}_spread"]
        self.assertTrue(0 < spread["min"] <= out[name] <= spread["max"], out)

    def test_prompt_and_generation(self):
        out = run_json("bench", "tiny-moe", "-p", 40, "-n", 12, "-r", 3)
        self.check_speed(out, "prompt_tokens_per_s")
        self.check_speed(out, "generation_tokens_per_s")
        self.assertEqual((out["model"], out["prompt_tokens"], out["generated_tokens"], out["depth_tokens"],
                          out["streams"], out["repetitions"], out["workers"]), ("tiny-moe", 40, 12, 0, 1, 3, 1))
        self.check_bound(out)

    def check_bound(self, out):
        """Bytes of a token against the sizes of the model's tensors, and the bound against those bytes."""
        show = run_json("show", "tiny-moe")
        tensors = [t for t in show["tensors"] if "experts" not in t and t["name"] != "token_embd.weight"]
        embedding = next(t for t in show["tensors"] if t["name"] == "token_embd.weight")
        row = embedding["size_bytes"] if show["tied_head"] else embedding["size_bytes"] // embedding["dims"][1]
        self.assertEqual(out["token_bytes"]["dense"], sum(t["size_bytes"] for t in tensors) + row)
        used = 4 * sum(t["expert_bytes"] for t in show["tensors"] if "experts" in t)
        self.assertEqual(out["token_bytes"]["experts"], used)
        self.assertGreater(out["token_bytes"]["kv"], 0)
        bound = out["machine"]["read_gb_per_s"] * 1e9 / sum(out["token_bytes"].values())
        self.assertAlmostEqual(out["memory_bound_tokens_per_s"] / bound, 1)
        self.assertAlmostEqual(out["memory_bound_share"], out["generation_tokens_per_s"] / bound)

    def test_machine_and_load(self):
        text = run_barn("bench", "tiny-moe", "-p", 0, "-n", 4, "-r", 1)
        for word in ("machine  ", "core(s)", "GB/s", "load  ", "a token reads"):
            self.assertIn(word, text)
        out = run_json("bench", "tiny-moe", "-p", 16, "-n", 0, "-r", 1, "--workers", 2, "--threads", 1)
        self.assertNotIn("memory_bound_share", out)
        self.assertGreater(out["load_s"], 0)
        machine = out["machine"]
        self.assertEqual(machine["threads"], 2)
        self.assertEqual(sorted(w["name"] for w in machine["workers"]), ["local-0", "local-1"])
        self.assertEqual(out["slices_bytes"], sum(w["slice_bytes"] for w in machine["workers"]))
        self.assertGreaterEqual(out["slices_bytes"], sum(t["size_bytes"] for t in run_json("show", "tiny-moe")["tensors"]))
        for name in ("cores", "memory_bytes", "read_gb_per_s"):
            self.assertGreater(machine[name], 0)

    def test_streams_at_a_depth_on_two_workers(self):
        out = run_json("bench", "tiny-moe", "-p", 0, "-n", 16, "-d", 300, "--streams", 6, "-r", 2, "--workers", 2)
        self.assertNotIn("prompt_tokens_per_s", out)
        self.check_speed(out, "generation_tokens_per_s")
        self.assertEqual((out["depth_tokens"], out["streams"], out["workers"]), (300, 6, 2))
        text = run_barn("bench", "tiny-moe", "-p", 0, "-n", 16, "-d", 300, "--streams", 6, "-r", 1)
        self.assertIn("behind 300 tokens  6 streams together", text)

    def test_a_context_that_is_too_short_is_an_error_before_anything_runs(self):
        done = run_barn("bench", "tiny-moe", "-p", 64, "-n", 1, "--context", 64, check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("a context of 64 tokens is too short, this needs 97", done.stderr)


if __name__ == "__main__":
    unittest.main()
