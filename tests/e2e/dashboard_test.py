"""deploy/grafana.json: every metric that it draws is in /metrics of a running server."""
import json
import os
import pathlib
import re
import tempfile
import unittest
import urllib.request

from barn_process import Server, run_barn

DASHBOARD = json.loads(pathlib.Path(os.environ["BARN_SOURCE_DIR"], "deploy/grafana.json").read_text())


class Dashboard(unittest.TestCase):
    def test_draws_what_there_is(self):
        expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
        drawn = {name for text in expressions for name in re.findall(r"barn_\w+", text)}
        self.assertGreater(len(drawn), 15)
        with tempfile.TemporaryDirectory() as home:
            key = run_barn("key", "create", "--name", "admin", "--role", "admin", env={"BARN_HOME": home}).strip()
            with Server("--keys", f"{home}/keys.db") as server:
                headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
                body = json.dumps({"prompt": "a b", "max_tokens": 4}).encode()
                for path, data in (("/v1/completions", body), ("/metrics", None)):
                    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", data, headers)
                    with urllib.request.urlopen(request, timeout=60) as reply:
                        text = reply.read().decode()
        there = {re.split(r"[{ ]", line)[0] for line in text.splitlines() if line and not line.startswith("#")}
        self.assertEqual(drawn - there, set())
        self.assertEqual(len({panel["id"] for panel in DASHBOARD["panels"]}), len(DASHBOARD["panels"]))


if __name__ == "__main__":
    unittest.main()
