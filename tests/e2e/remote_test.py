"""A model behind HTTP ranges: each worker fetches its own slice into the cache, and a second start moves no bytes."""
import functools
import http.server
import os
import pathlib
import re
import tempfile
import threading
import unittest

from barn_process import SHARED, run_json

MODEL = SHARED / "models/tiny-moe-Q4_K_M.gguf"


class RangeHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served = 0
    lock = threading.Lock()

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        data = MODEL.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        begin, end = (0, len(data)) if not asked else (int(asked[1]), int(asked[2] or len(data) - 1) + 1)
        part = data[begin:end]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"tiny"')
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{begin + len(part) - 1}/{len(data)}")
        self.end_headers()
        if body:
            self.wfile.write(part)
            with RangeHandler.lock:
                RangeHandler.served += len(part)

    def log_message(self, *_):
        pass


class Remote(unittest.TestCase):
    def test_fetch_once(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RangeHandler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/tiny-moe.gguf"
        with tempfile.TemporaryDirectory() as cache:
            ask = functools.partial(run_json, "logits", url, "--tokens", "1,351,428,866", "--greedy", 8, "--workers", 2,
                                    "--cache", cache)
            first = ask()
            moved = RangeHandler.served
            self.assertEqual(first, run_json("logits", MODEL, "--tokens", "1,351,428,866", "--greedy", 8))
            self.assertLess(moved, 1.35 * MODEL.stat().st_size)  # Slices plus headers, not the file for every worker.
            RangeHandler.served = 0
            self.assertEqual(first, ask())
            self.assertLess(RangeHandler.served, 2_000_000)  # Headers only.
            blobs = [p for p in pathlib.Path(cache).rglob("*") if p.is_file() and re.fullmatch(r"[0-9a-f]{64}", p.name)]
            self.assertGreater(sum(os.path.getsize(p) for p in blobs), 0.9 * MODEL.stat().st_size)
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    unittest.main()
