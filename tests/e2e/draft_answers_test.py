"""Guessed tokens (--draft ngram): the same answers as without."""
import unittest

from barn_process import GEMMA, Server

LIST = "".join(f'{{"id": {i}, "name": "user {i}", "active": true}},\n' for i in range(12))
STORY = "The old lighthouse keeper opened the window and"
REPEAT = "Repeat after me. The quick brown fox jumps over the lazy dog. " * 6


def complete(server, prompt, **fields):
    body = {"prompt": prompt, "max_tokens": 160, "ignore_eos": True, "temperature": 0, **fields}
    status, reply = server.post("/v1/completions", body, timeout=300)
    assert status == 200, reply
    return reply["choices"][0]


class Drafts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.plain = Server(GEMMA, "--draft", "off")
        cls.drafting = Server(GEMMA, "--draft", "ngram")

    @classmethod
    def tearDownClass(cls):
        cls.plain.close()
        cls.drafting.close()

    def test_answers_are_the_same(self):
        cases = [(prompt, fields) for prompt in (LIST, STORY, REPEAT)
                 for fields in ({}, {"temperature": 0.8, "seed": 1}, {"temperature": 1, "seed": 2, "top_p": 0.9},
                                {"temperature": 0.7, "seed": 3, "top_k": 20, "min_p": 0.05},
                                {"mirostat": 2, "temperature": 1, "seed": 4}, {"presence_penalty": 0.5},
                                {"temperature": 1, "seed": 5, "top_n_sigma": 1})]
        for prompt, fields in cases:
            fields = {**fields, "logprobs": 3, "max_tokens": 64}
            with self.subTest(prompt=prompt[:20], **fields):
                plain, drafting = (complete(server, prompt, **fields) for server in (self.plain, self.drafting))
                self.assertEqual(plain["text"], drafting["text"])
                self.assertEqual(plain["logprobs"], drafting["logprobs"])
        metrics = self.drafting.metrics()
        self.assertGreater(metrics["barn_draft_accepted_tokens_total"], 200)
        self.assertEqual(self.plain.metrics()["barn_draft_tokens_total"], 0)


if __name__ == "__main__":
    unittest.main()
