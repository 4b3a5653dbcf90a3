"""Samplers over HTTP with gemma-3-270m: seeds beside other requests, banned strings, DRY, the order of the chain."""
import concurrent.futures
import json
import unittest
import urllib.request

from barn_process import GEMMA, Server

PROMPT = "Once upon a time, there was a little"


class Samplers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(GEMMA)

    @classmethod
    def tearDownClass(cls):
        cls.server.close()

    def complete(self, **fields):
        body = {"prompt": PROMPT, "max_tokens": 40, "ignore_eos": True, **fields}
        request = urllib.request.Request(f"http://127.0.0.1:{self.server.port}/v1/completions",
                                         json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as reply:
            text = reply.read().decode()
        if not fields.get("stream"):
            return json.loads(text)["choices"][0]["text"]
        events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        return "".join(event["choices"][0]["text"] for event in events if event["choices"])

    def test_a_seed_is_the_same_alone_and_among_others(self):
        cases = [{"seed": seed, "temperature": 1.2, **more} for seed in (1, 2)
                 for more in ({}, {"top_p": 0.8}, {"mirostat": 2}, {"xtc_probability": 0.5, "min_p": 0.02},
                              {"presence_penalty": 1, "dry_multiplier": 0.8}, {"top_n_sigma": 1})]
        alone = [self.complete(**case) for case in cases]
        self.assertEqual(len(set(alone)), len(alone))
        with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
            together = list(pool.map(lambda case: self.complete(**case), cases))
        self.assertEqual(alone, together)

    def test_banned_strings_are_never_seen(self):
        free = self.complete(temperature=0)
        words = [word for word in free.split() if len(word) > 3]
        banned = [words[0], words[2], " " + words[4]]
        for fields in ({"temperature": 0}, {"temperature": 1, "seed": 4}):
            for stream in (False, True):
                text = self.complete(banned_strings=banned, stream=stream, **fields)
                for string in banned:
                    self.assertNotIn(string.lower(), text.lower())
                self.assertGreater(len(text), 60)
        # The words before the first banned one are those of the free answer.
        text = self.complete(banned_strings=[words[3]], temperature=0)
        self.assertTrue(text.startswith(free[:free.index(words[3])].rstrip()), (free, text))

    def test_dry_ends_a_loop(self):
        def longest_repeat(text):
            words = text.split()
            return max(n for n in range(len(words))
                       if any(words[i:i + n] == words[j:j + n] for i in range(len(words)) for j in range(i)
                              if i + n <= len(words)))
        prompt = "one two three four. one two three four. one two three four. one two three"
        loop = self.complete(prompt=prompt, temperature=0)
        dry = self.complete(prompt=prompt, temperature=0, dry_multiplier=2)
        self.assertGreater(longest_repeat(prompt + loop), 12, loop)
        self.assertLess(longest_repeat(dry), 6, dry)

    def test_the_order_counts(self):
        best = self.complete(temperature=0)
        self.assertEqual(self.complete(temperature=1.5, top_k=1, seed=1), best)
        self.assertEqual(self.complete(temperature=2, top_n_sigma=0.0001, seed=1), best)
        # At temperature 2 everything is likely, so top_p must come before it to bite.
        fields = {"temperature": 2, "top_p": 0.1, "seed": 1}
        before, again, after = (self.complete(samplers=chain, **fields)
                                for chain in (["top_p", "temperature"], ["top_p", "temperature"], ["temperature", "top_p"]))
        self.assertEqual(before, again)
        self.assertNotEqual(before, after)
        # Without its link a filter is off.
        self.assertEqual(self.complete(samplers="k", temperature=2, top_k=1, top_p=0.5, seed=1), best)


if __name__ == "__main__":
    unittest.main()
