"""Requests that share a server: prefixes computed once, more requests than memory, choices, time limits, full queues."""
import http.client
import json
import threading
import time
import unittest

from barn_process import GEMMA, Server

WORDS = "You are a careful assistant who answers every question about the archive in plain words and names the shelf. "


def first_token_seconds(server, prompt):
    start = time.monotonic()
    status, body = server.post("/v1/completions", {"prompt": prompt, "max_tokens": 1, "temperature": 0})
    assert status == 200, body
    return time.monotonic() - start, body


class PrefixCache(unittest.TestCase):
    def test_a_repeated_system_prompt_costs_a_tenth_at_most(self):
        with Server(GEMMA, "--context", 8192) as server:
            status, body = server.post("/v1/completions", {"prompt": "warm up", "max_tokens": 1})
            self.assertEqual(status, 200, body)
            system = WORDS * 100
            first, body = first_token_seconds(server, system + "Where is the first map?")
            self.assertGreaterEqual(body["usage"]["prompt_tokens"], 2000)
            self.assertEqual(body["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
            again, body = first_token_seconds(server, system + "Who wrote the second book?")
            self.assertGreater(body["usage"]["prompt_tokens_details"]["cached_tokens"],
                               body["usage"]["prompt_tokens"] - 64)
            print(f"first token after {first * 1e3:.0f} ms, with the prompt known after {again * 1e3:.0f} ms "
                  f"({again / first:.1%})")
            self.assertLess(again, first / 10)
            metrics = server.metrics()
            self.assertGreater(metrics["barn_prefix_cache_hits_total"], 1900)
            self.assertGreater(metrics["barn_kv_blocks_cached"], 60)

    def test_the_cache_changes_no_token(self):
        for workers in (1, 2):
            with Server("--workers", workers, "--objective", "throughput") as server:
                ask = {"prompt": WORDS * 8, "max_tokens": 24, "temperature": 0, "ignore_eos": True, "logprobs": 3}
                first, second = (server.post("/v1/completions", ask)[1] for _ in range(2))
                self.assertGreater(second["usage"]["prompt_tokens_details"]["cached_tokens"], 100)
                self.assertEqual(first["choices"], second["choices"])

    def test_choices_share_their_prompt(self):
        with Server() as server:
            status, body = server.post("/v1/completions", {"prompt": WORDS * 8, "n": 4, "max_tokens": 8, "seed": 3,
                                                           "ignore_eos": True})
            self.assertEqual(status, 200, body)
            tokens = body["usage"]["prompt_tokens"]
            self.assertLess(server.metrics()["barn_prompt_tokens_total"], tokens + 3 * 33)
            # Each is what it is alone.
            for i, choice in enumerate(body["choices"]):
                _, alone = server.post("/v1/completions", {"prompt": WORDS * 8, "max_tokens": 8, "seed": 3 + i,
                                                           "ignore_eos": True})
                self.assertEqual(alone["choices"][0]["text"], choice["text"])


class Sharing(unittest.TestCase):
    def test_more_requests_than_memory(self):
        with Server("--context", 512) as server:
            ask = lambda i: {"prompt": f"Number {i} is", "max_tokens": 200, "temperature": 1, "seed": i, "ignore_eos": True}
            alone = [server.post("/v1/completions", ask(i))[1]["choices"][0]["text"] for i in range(6)]
            together = [None] * 6

            def run(i):
                together[i] = server.post("/v1/completions", ask(i))

            threads = [threading.Thread(target=run, args=(i,)) for i in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual([status for status, _ in together], [200] * 6, together)
            self.assertEqual([body["choices"][0]["text"] for _, body in together], alone)
            self.assertGreater(server.metrics()["barn_preemptions_total"], 0)

    def test_a_timeout_ends_a_request(self):
        with Server() as server:
            start = time.monotonic()
            status, body = server.post("/v1/completions", {"prompt": "The", "max_tokens": 1900, "ignore_eos": True,
                                                           "timeout": 0.3})
            self.assertEqual(status, 504, body)
            self.assertIn("300ms", body["error"]["message"])
            self.assertLess(time.monotonic() - start, 10)
            self.assertEqual(server.post("/v1/completions", {"prompt": "The", "max_tokens": 2})[0], 200)

    def test_a_full_queue_says_when_to_come_again(self):
        with Server("--running-max", 1, "--waiting-max", 2) as server:
            results = []
            ask = {"prompt": "The", "max_tokens": 400, "ignore_eos": True}

            def run():
                status, body = server.post("/v1/completions", ask)
                results.append((status, body))

            threads = [threading.Thread(target=run) for _ in range(3)]
            for thread in threads:
                thread.start()
            deadline = time.monotonic() + 20
            while server.metrics()["barn_requests_waiting"] < 2 and time.monotonic() < deadline:
                time.sleep(0.005)
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            connection.request("POST", "/v1/completions", json.dumps(ask), {"Content-Type": "application/json"})
            response = connection.getresponse()
            self.assertEqual(response.status, 503, response.read())
            self.assertGreaterEqual(int(response.getheader("Retry-After")), 1)
            connection.close()
            for thread in threads:
                thread.join()
            self.assertEqual([status for status, _ in results], [200] * 3)


if __name__ == "__main__":
    unittest.main()
