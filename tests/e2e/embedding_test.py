"""Embeddings and reranking by the real program: gemma against recorded vectors, tiny encoders against their reference."""
import json
import math
import os
import pathlib
import unittest

from barn_process import GEMMA, SHARED, Server, run_barn, run_json

ENCODERS = pathlib.Path(os.environ["BARN_TEST_ENCODERS"])
RECORDED = SHARED / "oracles/http/transcripts.jsonl"
EXACT = {"BARN_ACTIVATIONS": "f32"}


def unit(vector):
    length = math.sqrt(sum(v * v for v in vector))
    return [v / length for v in vector]


def cosine(a, b):
    return sum(x * y for x, y in zip(unit(a), unit(b)))


def vectors(server, texts, **more):
    status, body = server.post("/v1/embeddings", {"input": texts, **more})
    if status != 200:
        raise AssertionError(body)
    return [item["embedding"] for item in body["data"]], body["usage"]


class Gemma(unittest.TestCase):
    def recorded(self):
        records = [json.loads(line) for line in RECORDED.read_text().splitlines()]
        answer = next(r for r in records if r["id"] == "openai-embeddings-list")["response"]["body"]
        return [item["embedding"] for item in answer["data"]], answer["usage"]

    def check(self, least, env, workers):
        with Server(GEMMA, "--workers", workers, env=env) as server:
            got, usage = vectors(server, ["A small cat", "A large ship"])
            want, wanted_usage = self.recorded()
            self.assertEqual(usage, wanted_usage)
            for a, b in zip(got, want):
                self.assertGreater(cosine(a, b), least)
            # A long text comes in several steps, beside others, and found prefixes change nothing.
            long_text = "The river runs by the bank. " * 150
            alone = vectors(server, long_text, pooling="last")[0][0]
            both = vectors(server, ["A small cat", long_text, long_text], pooling="last")[0]
            self.assertEqual(both[1], alone)
            self.assertEqual(both[2], alone)
            mean = vectors(server, [long_text, long_text])[0]
            for vector in mean:
                self.assertGreater(cosine(vector, mean[0]), 1 - 1e-9)
            return got

    def test_recorded_vectors(self):
        # The recording's program quantizes activations in blocks of its own, as int8 does here.
        one = self.check(0.99, {}, 1)
        two = self.check(0.99, {}, 2)
        self.assertEqual(one, two)
        self.check(0.99, EXACT, 1)


class Encoders(unittest.TestCase):
    def reference(self, name):
        return json.loads((ENCODERS / f"{name}.json").read_text())

    def pooled(self, case, width, pooling):
        rows = [case["hidden"][i:i + width] for i in range(0, len(case["hidden"]), width)]
        if pooling == "mean":
            return unit([sum(column) / len(rows) for column in zip(*rows)])
        return unit(rows[0])

    def close(self, got, want, tolerance=1e-4):
        self.assertEqual(len(got), len(want))
        self.assertLess(max(abs(a - b) for a, b in zip(got, want)), tolerance)

    def test_every_architecture_pools_as_its_file_says(self):
        for name, pooling in (("bert", "cls"), ("gemma-embedding", "mean"), ("nomic-bert", "mean"), ("jina-bert-v2", "mean"),
                              ("modern-bert", "cls")):
            facts = self.reference(name)
            for workers in (1, 2):
                with self.subTest(name=name, workers=workers):
                    with Server(ENCODERS / f"{name}.gguf", "--workers", workers, env=EXACT) as server:
                        ids = [case["ids"] for case in facts["cases"]]
                        got, usage = vectors(server, ids)
                        for vector, case in zip(got, facts["cases"]):
                            self.close(vector, self.pooled(case, facts["width"], pooling))
                        self.assertEqual(usage["prompt_tokens"], sum(map(len, ids)))
                        for vector, case in zip(vectors(server, ids, pooling="mean")[0], facts["cases"]):
                            self.close(vector, self.pooled(case, facts["width"], "mean"))

    def test_texts_and_what_an_encoder_refuses(self):
        with Server(ENCODERS / "bert.gguf", "--workers", 1, env=EXACT) as server:
            tokens = server.post("/tokenize", {"content": "The cat SAT, walking!", "add_special": True})[1]["tokens"]
            text = run_barn("tokenize", ENCODERS / "bert.gguf", "The cat SAT, walking!")
            self.assertEqual([int(i) for i in text.strip().split(",")], tokens)
            self.assertEqual(vectors(server, "The cat SAT, walking!")[0], vectors(server, [tokens])[0])
            self.assertEqual(server.post("/detokenize", {"tokens": tokens})[1]["content"], "[CLS] the cat sat , walking ![SEP]")
            status, body = server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]})
            self.assertEqual(status, 400)
            self.assertIn("generates no text", body["error"]["message"])
            status, body = server.post("/v1/embeddings", {"input": [[5] * 65]})
            self.assertEqual((status, body["error"]["code"]), (400, "context_length_exceeded"))
            self.assertIn("64", body["error"]["message"])
            status, body = server.post("/v1/rerank", {"query": "cat", "documents": ["dog"]})
            self.assertEqual(status, 400)
            self.assertIn("no reranker", body["error"]["message"])
            self.assertEqual(server.metrics()["barn_requests_failed_total"], 0)

    def test_reranking(self):
        facts = self.reference("bert-reranker")
        with Server(ENCODERS / "bert-reranker.gguf", "--workers", 1, env=EXACT) as server:
            # The last case is this pair; its second text has the token type of a second text.
            status, body = server.post("/v1/rerank", {"query": "cat sat", "documents": ["dog ran rain", "tree", "the river bank"]})
            self.assertEqual(status, 200, body)
            scores = {result["index"]: result["relevance_score"] for result in body["results"]}
            self.assertAlmostEqual(scores[0], 1 / (1 + math.exp(-facts["cases"][-1]["score"])), delta=1e-4)
            self.assertEqual([result["index"] for result in body["results"]], sorted(scores, key=scores.get, reverse=True))
            self.assertEqual(len(body["results"]), 3)

    def test_show_and_plan(self):
        shown = run_json("show", ENCODERS / "bert.gguf")
        self.assertIn("bert", json.dumps(shown))
        self.assertIn("bert", run_barn("show", ENCODERS / "bert.gguf"))
        plan = run_barn("plan", ENCODERS / "bert.gguf", "--node", "a=1GiB", "--node", "b=1GiB")
        self.assertIn("a", plan)


if __name__ == "__main__":
    unittest.main()
