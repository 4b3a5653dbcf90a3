#!/usr/bin/env python3
"""Loads an OpenAI-compatible server with streams that run together, and reports speed and latency as a client sees them.

usage: http_load.py --url http://127.0.0.1:8080 --streams 8 --tokens 128 [--start 'barn up model.gguf']

Every stream sends a prompt of its own to /v1/completions (temperature 0, ignore_eos) and gets exactly --tokens tokens.
One thread takes bytes with their times and reads them afterwards, so that the load costs the server little.
"""
import argparse
import contextlib
import json
import random
import selectors
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from event_stream import EventStream

WORDS = ("time year people way day man thing woman life child world school state family student group country problem "
         "hand part place case week company system program question work number night point home water room mother area "
         "money story fact month lot right study book eye job word business issue side kind head house service friend").split()


def prompt(words, seed):
    """Words that no other seed gives from its first ones on, so that no cache of prefixes helps."""
    chosen = random.Random(seed)
    return " ".join([f"{seed}:"] + [chosen.choice(WORDS) for _ in range(words)])


def records(seed):
    """Text that goes on as it began, of no more use to a cache of prefixes: what guessing tokens is good for."""
    return "".join(f'{{"id": {seed + i}, "name": "user {i}", "active": true}},\n' for i in range(12))


def percentile(values, share):
    """The smallest value that `share` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


class Stream:
    """One request over a connection of its own."""

    def __init__(self, address, body):
        self.socket = socket.create_connection(address, timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = (f"POST /v1/completions HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nConnection: close\r\n"
                        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
        self.pieces = []  # (time, bytes)

    def send(self):
        self.sent = time.perf_counter()
        self.socket.sendall(self.request)
        self.socket.setblocking(False)

    def receive(self):
        """False at the end of the answer."""
        data = self.socket.recv(1 << 16)
        self.pieces.append((time.perf_counter(), data))
        return bool(data)

    def read(self, tokens_expected):
        """Times of the tokens; ValueError tells what is wrong with the answer."""
        parser, times, usage = EventStream(), [], None
        for when, data in self.pieces:
            for event in parser.feed(data):
                if "error" in event:
                    raise ValueError(f"the server says {event['error']}")
                usage = event.get("usage") or usage
                for choice in event.get("choices", []):
                    if choice.get("text") or not choice.get("finish_reason"):
                        times.append(when)
        if parser.status != 200:
            raise ValueError(f"HTTP status {parser.status}: {parser.body[:300].decode(errors='replace')}")
        if not parser.done or not times:
            raise ValueError("the answer ended early")
        if usage and usage["completion_tokens"] != tokens_expected:
            raise ValueError(f"{usage['completion_tokens']} tokens instead of {tokens_expected}: no ignore_eos there?")
        return times, usage["prompt_tokens"] if usage else None


def run_streams(options, model, seed):
    """All streams once. Returns a dict of what was measured, latencies as lists."""
    url = urllib.parse.urlsplit(options.url)
    streams = []
    for i in range(options.streams):
        words = records(seed + i) if options.repetitive else prompt(options.prompt_words, seed + i)
        body = {"model": model, "prompt": words, "max_tokens": options.tokens, "temperature": 0,
                "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}}
        streams.append(Stream((url.hostname, url.port or 80), json.dumps(body).encode()))
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            stream.send()
            selector.register(stream.socket, selectors.EVENT_READ, stream)
        deadline = time.monotonic() + options.timeout
        while selector.get_map():
            ready = selector.select(timeout=max(0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"{len(selector.get_map())} streams are not done after {options.timeout} s")
            for key, _ in ready:
                if not key.data.receive():
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
    first_tokens_ms, gaps_ms, prompts, rate, end = [], [], [], 0.0, 0.0
    for stream in streams:
        times, prompt_tokens = stream.read(options.tokens)
        prompts.append(prompt_tokens)
        first_tokens_ms.append((times[0] - stream.sent) * 1e3)
        gaps_ms += [(b - a) * 1e3 for a, b in zip(times, times[1:])]
        end = max(end, times[-1])
        if times[-1] > times[0]:
            rate += (options.tokens - 1) / (times[-1] - times[0])
    return {"tokens_per_s": options.streams * options.tokens / (end - min(s.sent for s in streams)),
            "generation_tokens_per_s": rate, "first_tokens_ms": first_tokens_ms, "gaps_ms": gaps_ms,
            "prompt_tokens": prompts[0]}


def latency(values):
    return {"median": statistics.median(values), "p99": percentile(values, 0.99)} if values else None


def measure(options):
    with urllib.request.urlopen(f"{options.url}/v1/models", timeout=30) as answer:
        model = options.model or json.load(answer)["data"][0]["id"]
    runs = [run_streams(options, model, 1_000_000 * (i + 1)) for i in range(options.warmup + options.repeat)]
    runs = runs[options.warmup:]
    result = {"url": options.url, "model": model, "streams": options.streams, "tokens": options.tokens,
              "prompt_tokens": runs[0]["prompt_tokens"], "repetitions": options.repeat}
    for name in ("tokens_per_s", "generation_tokens_per_s"):
        values = [run[name] for run in runs]
        result[name] = statistics.median(values)
        result[f"{name}_spread"] = {"min": min(values), "max": max(values)}
    result["time_to_first_token_ms"] = latency([ms for run in runs for ms in run["first_tokens_ms"]])
    result["time_between_tokens_ms"] = latency([ms for run in runs for ms in run["gaps_ms"]])
    return result


@contextlib.contextmanager
def started(command, url, timeout):
    """Starts a server, waits until it completes a token, and ends it in the end."""
    server = subprocess.Popen(shlex.split(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ask = urllib.request.Request(f"{url}/v1/completions", headers={"Content-Type": "application/json"},
                                     data=json.dumps({"prompt": "a", "max_tokens": 1}).encode())
        deadline = time.monotonic() + timeout
        while True:
            try:
                with urllib.request.urlopen(ask, timeout=timeout):
                    break
            except urllib.error.HTTPError as error:
                if error.code == 401:  # It answers, but only who has a key.
                    break
            except OSError:
                pass
            if server.poll() is not None:
                raise RuntimeError(f"the server ended with {server.returncode}: {command}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server does not answer after {timeout} s: {command}")
            time.sleep(0.1)
        yield
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def text(result):
    lines = [f"{result['model']}: {result['streams']} streams of {result['tokens']} tokens behind "
             f"{result['prompt_tokens']}, median of {result['repetitions']} (least to most)"]
    for name, label in (("tokens_per_s", "with prompts"), ("generation_tokens_per_s", "generation")):
        spread = result[f"{name}_spread"]
        lines.append(f"{label:20} {result[name]:9.1f} tokens/s  ({spread['min']:.1f} to {spread['max']:.1f})")
    for name in ("time_to_first_token_ms", "time_between_tokens_ms"):
        if result[name]:
            lines.append(f"{name[:-3].replace('_', ' '):20} {result[name]['median']:9.1f} ms, "
                         f"99 % within {result[name]['p99']:.1f} ms")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--start", metavar="COMMAND", help="start this server first and end it afterwards")
    parser.add_argument("--model", help="the first of /v1/models by default")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--prompt-words", type=int, default=32)
    parser.add_argument("--repetitive", action="store_true", help="prompts are records of one form instead of words")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=1, help="repetitions before those that count")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for a start or a repetition")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.url = options.url.rstrip("/")
    if min(options.streams, options.tokens, options.repeat) < 1 or min(options.prompt_words, options.warmup) < 0:
        parser.error("--streams, --tokens and --repeat are 1 or more")
    server = started(options.start, options.url, options.timeout) if options.start else contextlib.nullcontext()
    try:
        with server:
            result = measure(options)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"http_load: {error}", file=sys.stderr)
        sys.exit(1)
    print(json.dumps(result, indent=2) if options.json else text(result))


if __name__ == "__main__":
    main()
