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
