"""The embedded model against its recorded greedy texts and perplexity, and its sampling and concurrency over HTTP."""
import concurrent.futures
import json
import unittest

from barn_process import SHARED, Server, run_json

MODELS = SHARED / "models"
ORACLE = json.loads((MODELS / "reference.json").read_text())
NEAR_TIE = 0.05  # In logits, as the margins below.


def first_difference(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), None)


class TinyMoe(unittest.TestCase):
    def test_greedy_ids(self):
        for prompt in ORACLE["greedy_Q4_K_M"]:
            ids = ",".join(map(str, prompt["token_ids"]))
            out = run_json("logits", "tiny-moe", "--tokens", ids, "--greedy", 40)
            at = first_difference(out["greedy_ids"], prompt["greedy_ids"])
            if at is not None:  # 8-bit activations round differently: only a small recorded gap excuses a difference.
                self.assertLess(prompt["greedy_margins"][at], 1.0, (prompt["prompt"], at))

    def test_f16_file_in_f32_arithmetic(self):
        for prompt in ORACLE["greedy_F16"]:
            ids = ",".join(map(str, prompt["token_ids"]))
            out = run_json("logits", MODELS / "tiny-moe-f16.gguf", "--tokens", ids, "--greedy", 40,
                           env={"BARN_ACTIVATIONS": "f32"})
            ours = {row["id"]: row["logit"] for row in out["top"]}
            self.assertLess(max(abs(ours[i] - value) for i, value in prompt["top10"]), 0.1)
            at = first_difference(out["greedy_ids"], prompt["greedy_ids"])
            if at is not None:
                self.assertLess(prompt["greedy_margins"][at], 0.2, (prompt["prompt"], at))

    def test_perplexity(self):
        out = run_json("perplexity", "tiny-moe", MODELS / "tiny-moe.valid.txt", "--ctx", 512, "--chunks", 40)
        expected = ORACLE["files"]["Q4_K_M"]["perplexity"]
        print(f"perplexity {out['perplexity']:.4f}, reference {expected}")
        self.assertLess(abs(out["perplexity"] / expected - 1), 0.015)

    def test_ranks_and_stages_do_not_change_a_bit(self):
        plan = run_json("plan", "tiny-moe", "--node", "a=1GiB,machine=box", "--node", "b=1GiB,machine=box",
                        "--objective", "latency")
        self.assertEqual([(stage["rank"], stage["ranks"]) for stage in plan["stages"]], [(0, 2), (1, 2)], plan["reason"])

        def logits(*arguments):
            out = run_json("logits", "tiny-moe", "--tokens", "1,351,428,866", "--greedy", 24, "--top", 100, *arguments)
            return out["top"], out["greedy_ids"]

        alone = logits("--workers", 1)
        for objective in ("latency", "throughput", "both"):
            self.assertEqual(logits("--workers", 2, "--objective", objective), alone, objective)

    def test_32_streams_equal_one_at_a_time(self):
        starts = ["The function returns", "To install a package", "In the year", "A list of", "The file", "When the user",
                  "Python is", "The first"]
        prompts = [f"{start} {word}" for start in starts for word in ("the", "a new", "all of", "one")]

        def ask(server, prompt):
            status, body = server.post("/v1/completions", {
                "model": "tiny-moe", "prompt": prompt, "max_tokens": 40, "temperature": 0, "logprobs": 2})
            self.assertEqual(status, 200, body)
            return body["choices"][0]

        with Server("--workers", 2) as server:
            alone = [ask(server, p) for p in prompts]
            with concurrent.futures.ThreadPoolExecutor(32) as pool:
                together = list(pool.map(lambda p: ask(server, p), prompts))
            metrics = server.metrics()
        for a, b in zip(alone, together):
            at = first_difference(a["logprobs"]["tokens"], b["logprobs"]["tokens"])
            if at is not None:
                best = sorted(a["logprobs"]["top_logprobs"][at].values())
                self.assertLess(best[-1] - best[-2], NEAR_TIE, (a["text"], b["text"]))
        self.assertEqual(metrics["barn_kv_blocks_free"], metrics["barn_kv_blocks_total"])

    def test_deterministic(self):
        """The same numbers, to the last digit, alone and among others, on one worker and on two."""
        prompts = [" ".join(["The function returns a new file", "and the list"][:1 + i % 2] + ["one", "two"][:i % 3])
                   for i in range(12)]

        def ask(server, prompt):
            status, body = server.post("/v1/completions", {
                "model": "tiny-moe", "prompt": prompt, "max_tokens": 24, "temperature": 0, "logprobs": 3})
            self.assertEqual(status, 200, body)
            return body["choices"][0]["logprobs"]

        answers = []
        for arguments in (("--workers", 1), ("--workers", 2, "--threads", 1)):
            with Server("--deterministic", *arguments) as server:
                answers.append([ask(server, p) for p in prompts])
                with concurrent.futures.ThreadPoolExecutor(len(prompts)) as pool:
                    answers.append(list(pool.map(lambda p: ask(server, p), prompts)))
        for other in answers[1:]:
            self.assertEqual(answers[0], other)


if __name__ == "__main__":
    unittest.main()
