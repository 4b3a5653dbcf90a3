"""The load script against a running Barn, and what it makes of answers that are cut anywhere or wrong."""
import json
import pathlib
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

import http_load
from barn_process import Server
from event_stream import EventStream

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def load(server, *arguments):
    return subprocess.run([sys.executable, HERE / "http_load.py", "--url", f"http://127.0.0.1:{server.port}",
                           *map(str, arguments)], capture_output=True, text=True, timeout=300)


class EventStreamTest(unittest.TestCase):
    ANSWER = (HEAD + chunk(b'data: {"a": 1}\n\n') + chunk(b'data: {"a": 2}\r\n\r\ndata: {"a"') + chunk(b': 3}\n\n') +
              chunk(b": a comment\n\n") + chunk(b"data: [DONE]\n\n") + chunk(b""))

    def test_cut_anywhere(self):
        for size in range(1, len(self.ANSWER) + 1):
            parser, events = EventStream(), []
            for at in range(0, len(self.ANSWER), size):
                events += parser.feed(self.ANSWER[at:at + size])
            self.assertEqual([event["a"] for event in events], [1, 2, 3], size)
            self.assertTrue(parser.done)

    def test_an_event_belongs_to_the_piece_that_completes_it(self):
        parser = EventStream()
        first = HEAD + chunk(b'data: {"a": 1}\n\n')
        self.assertEqual(parser.feed(first[:-1]), [])
        self.assertEqual(parser.feed(first[-1:]), [{"a": 1}])
        self.assertFalse(parser.done)

    def test_without_chunks(self):
        parser = EventStream()
        self.assertEqual(parser.feed(b'HTTP/1.1 200 OK\r\n\r\ndata: {"a": 1}\n\n'), [{"a": 1}])

    def test_errors(self):
        parser = EventStream()
        self.assertEqual(parser.feed(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"), [])
        self.assertEqual((parser.status, parser.body), (503, b"busy"))
        for wrong in (b"SSH-2.0\r\n\r\n", HEAD + b"xyz\r\n", HEAD + chunk(b"data: {\n\n")):
            with self.assertRaises(ValueError):
                EventStream().feed(wrong)


class HttpLoad(unittest.TestCase):
    def test_prompts_differ_from_the_first_word_on(self):
        prompts = [http_load.prompt(8, seed) for seed in range(100)]
        self.assertEqual(len({prompt.split()[0] for prompt in prompts}), 100)
        self.assertEqual(len(prompts[0].split()), 9)

    def test_percentile(self):
        values = list(range(1, 101))
        self.assertEqual([http_load.percentile(values, share) for share in (0.5, 0.99, 1)], [50, 99, 100])
        self.assertEqual(http_load.percentile([7], 0.99), 7)

    def test_against_barn(self):
        with Server("--workers", 2) as server:
            done = load(server, "--streams", 5, "--tokens", 12, "--repeat", 2, "--json")
            self.assertEqual(done.returncode, 0, done.stderr)
            result = json.loads(done.stdout)
            # Two repetitions and a warm-up.
            self.assertEqual(server.metrics()["barn_generated_tokens_total"], 3 * 5 * 12)
            text = load(server, "--streams", 1, "--tokens", 1, "--repeat", 1)
            self.assertIn("time to first token", text.stdout, text.stderr)
            too_long = load(server, "--streams", 1, "--tokens", 100000)
            self.assertEqual(too_long.returncode, 1)
            self.assertIn("HTTP status 400", too_long.stderr)
        self.assertEqual((result["model"], result["streams"], result["tokens"], result["repetitions"]),
                         ("tiny-moe", 5, 12, 2))
        self.assertGreater(result["prompt_tokens"], 32)
        for name in ("tokens_per_s", "generation_tokens_per_s"):
            spread = result[f"{name}_spread"]
            self.assertTrue(0 < spread["min"] <= result[name] <= spread["max"], result)
        for name in ("time_to_first_token_ms", "time_between_tokens_ms"):
            self.assertTrue(0 <= result[name]["median"] <= result[name]["p99"], result)

    def test_starts_a_server_and_tells_when_it_ends(self):
        done = subprocess.run([sys.executable, HERE / "http_load.py", "--url", "http://127.0.0.1:9", "--start", "false"],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn("the server ended with 1: false", done.stderr)


if __name__ == "__main__":
    unittest.main()
