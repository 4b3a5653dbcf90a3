"""Spans of requests at a trace collector (--otlp-endpoint)."""
import http.client
import http.server
import json
import threading
import time
import unittest

from barn_process import Server, free_port, run_barn

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"


class Collector(http.server.BaseHTTPRequestHandler):
    spans, paths, lock = [], set(), threading.Lock()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.lock:
            self.paths.add((self.path, self.headers["Content-Type"]))
            for resource in body["resourceSpans"]:
                self.spans.extend(span for scope in resource["scopeSpans"] for span in scope["spans"])
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


def attributes(span):
    return {a["key"]: next(iter(a["value"].values())) for a in span["attributes"]}


class Traces(unittest.TestCase):
    def ask(self, server, path, body, traceparent=None, leave=False):
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        headers = {"Content-Type": "application/json", **({"traceparent": traceparent} if traceparent else {})}
        client.request("POST", path, json.dumps(body), headers)
        response = client.getresponse()
        status = response.status
        if not leave:
            response.read()
        client.close()
        return status

    def test_every_request_is_a_span(self):
        collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        with Server("--otlp-endpoint", f"http://127.0.0.1:{collector.server_port}/") as server:
            body = {"prompt": "a", "max_tokens": 5, "ignore_eos": True}
            self.assertEqual(self.ask(server, "/v1/completions", body, PARENT + "01"), 200)
            self.assertEqual(self.ask(server, "/v1/completions", {**body, "stream": True}), 200)
            self.assertEqual(self.ask(server, "/v1/completions", {"max_tokens": 5}), 400)
            self.assertEqual(self.ask(server, "/v1/completions", body, PARENT + "00"), 200)
            long = {**body, "stream": True, "max_tokens": 400}
            self.assertEqual(self.ask(server, "/v1/completions", long, leave=True), 200)
            deadline = time.monotonic() + 30
            completions = []
            while len(completions) < 4 and time.monotonic() < deadline:
                time.sleep(0.1)
                with Collector.lock:
                    completions = [span for span in Collector.spans if span["name"] == "/v1/completions"]
        collector.shutdown()
        self.assertEqual(Collector.paths, {("/v1/traces", "application/json")})
        completions = [span for span in Collector.spans if span["name"] == "/v1/completions"]
        self.assertEqual(len(completions), 4, "and none for the trace that is not recorded")
        within, streamed, refused, left = completions
        self.assertEqual((within["traceId"], within["parentSpanId"]), (PARENT[3:35], PARENT[36:52]))
        self.assertEqual((len(streamed["traceId"]), len(streamed["spanId"])), (32, 16))
        self.assertNotIn("parentSpanId", streamed)
        for span in (within, streamed):
            named = attributes(span)
            self.assertEqual(named["gen_ai.usage.output_tokens"], "5")
            self.assertEqual(named["http.response.status_code"], "200")
            self.assertGreater(named["gen_ai.server.time_to_first_token"], 0)
            self.assertLess(int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"]))
        self.assertEqual(attributes(refused)["http.response.status_code"], "400")
        self.assertEqual(attributes(left)["http.response.status_code"], "499")
        self.assertEqual(len({span["spanId"] for span in completions}), 4)

    def test_a_collector_that_is_gone_holds_nobody_up(self):
        with Server("--otlp-endpoint", f"http://127.0.0.1:{free_port()}") as server:
            status, reply = server.post("/v1/completions", {"prompt": "a", "max_tokens": 2})
            self.assertEqual(status, 200, reply)
            deadline = time.monotonic() + 30
            while "spans were dropped" not in server.output() and time.monotonic() < deadline:
                time.sleep(0.1)
            self.assertIn("spans were dropped", server.output())

    def test_no_url(self):
        done = run_barn("up", "--otlp-endpoint", "localhost:4318", "--listen", f"127.0.0.1:{free_port()}", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("'localhost:4318' is no http or https URL", done.stderr)


if __name__ == "__main__":
    unittest.main()
