#!/usr/bin/env python3
"""Many streams of mixed lengths on one server, without and with a long prompt that comes every second: the times between
tokens of the streams, and how the tokens divide among keys.

usage: mixed_load.py --url http://127.0.0.1:8080 [--start 'barn up model.gguf'] [--streams 64] [--seconds 30]
       [--key NAME=SECRET]...

Each stream asks again when its answer ends. With --key, streams take turns over the keys.
"""
import argparse
import contextlib
import json
import random
import selectors
import sys
import time
import urllib.parse

from event_stream import EventStream
from http_load import Stream, latency, percentile, prompt, started


class Answer(Stream):
    """One request of the load; reads events as they come."""

    def __init__(self, address, body, kind, key):
        super().__init__(address, json.dumps(body).encode())
        if key:
            self.request = self.request.replace(b"\r\n\r\n", f"\r\nAuthorization: Bearer {key[1]}\r\n\r\n".encode(), 1)
        self.kind, self.key, self.times, self.parser = kind, key[0] if key else "", [], EventStream()

    def take(self):
        """False at the end of the answer."""
        going = self.receive()
        when, data = self.pieces.pop()
        for event in self.parser.feed(data):
            if "error" in event:
                raise ValueError(f"the server says {event['error']}")
            # One time for each token, also for one whose text is not complete yet.
            if any(not choice.get("finish_reason") for choice in event.get("choices", [])):
                self.times.append(when)
        if not going and self.parser.status != 200:
            raise ValueError(f"HTTP status {self.parser.status}: {self.parser.body[:300].decode(errors='replace')}")
        return going


class Load:
    def __init__(self, options, seed):
        url = urllib.parse.urlsplit(options.url)
        self.options, self.address = options, (url.hostname, url.port or 80)
        self.random, self.seed, self.selector, self.all = random.Random(seed), seed, selectors.DefaultSelector(), []

    def ask(self, kind, key, words, tokens):
        self.seed += 1
        body = {"prompt": prompt(words, self.seed), "max_tokens": tokens, "temperature": 0, "ignore_eos": True,
                "stream": True}
        answer = Answer(self.address, body, kind, key)
        answer.send()
        self.selector.register(answer.socket, selectors.EVENT_READ, answer)
        self.all.append(answer)

    def ask_stream(self, key):
        self.ask("stream", key, self.random.randint(4, 60), self.random.randint(20, 200))

    def run(self, long_prompts):
        """What came within the time, after the first tenth of it."""
        options, keys = self.options, self.options.key or [None]
        start = time.perf_counter()
        end, next_long = start + options.seconds, start + 1
        for i in range(options.streams):
            self.ask_stream(keys[i % len(keys)])
        while (now := time.perf_counter()) < end:
            if long_prompts and now >= next_long:
                self.ask("long", keys[0], options.long_words, 8)
                next_long += 1
            for event, _ in self.selector.select(timeout=min(end, next_long if long_prompts else end) - now):
                answer = event.data
                if answer.take():
                    continue
                self.selector.unregister(answer.socket)
                answer.socket.close()
                if answer.kind == "stream":
                    self.ask_stream(next((key for key in keys if key and key[0] == answer.key), None))
        for event in list(self.selector.get_map().values()):
            event.fileobj.close()
        return self.summary(start + options.seconds / 10)

    def summary(self, since):
        gaps, firsts, tokens = [], [], {}
        for answer in self.all:
            times = [when for when in answer.times if when >= since]
            tokens[answer.key] = tokens.get(answer.key, 0) + len(times)
            if answer.kind == "stream":
                gaps += [(b - a) * 1e3 for a, b in zip(times, times[1:])]
            elif answer.times:
                firsts.append((answer.times[0] - answer.sent) * 1e3)
        return {"time_between_tokens_ms": {**latency(gaps), "p999": percentile(gaps, 0.999), "most": max(gaps)},
                "tokens_per_s": sum(tokens.values()) / (self.options.seconds * 0.9), "tokens_by_key": tokens,
                "long_prompts_answered": len(firsts), "long_first_token_ms": latency(firsts)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--start", metavar="COMMAND", help="start this server first and end it afterwards")
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=30, help="of each of the two parts")
    parser.add_argument("--long-words", type=int, default=5900, help="words of a long prompt")
    parser.add_argument("--key", action="append", type=lambda text: tuple(text.split("=", 1)), help="NAME=SECRET")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for a start")
    options = parser.parse_args()
    options.url = options.url.rstrip("/")
    server = started(options.start, options.url, options.timeout) if options.start else contextlib.nullcontext()
    try:
        with server:
            without = Load(options, 1_000_000).run(False)
            time.sleep(2)  # The server notices that the clients left.
            with_long = Load(options, 2_000_000).run(True)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"mixed_load: {error}", file=sys.stderr)
        sys.exit(1)
    ratio = with_long["time_between_tokens_ms"]["p99"] / without["time_between_tokens_ms"]["p99"]
    print(json.dumps({"streams": options.streams, "without": without, "with_long_prompts": with_long,
                      "p99_ratio": ratio}, indent=2))


if __name__ == "__main__":
    main()
