"""The official OpenAI client and the published schemas against the real program over two workers."""
import os
import pathlib
import subprocess
import sys
import unittest

from barn_process import GEMMA, TIME_SCALE, Server

SCRIPTS = pathlib.Path(os.environ["BARN_SOURCE_DIR"]) / "tests/coordinator/http"


class OpenAi(unittest.TestCase):
    def check(self, *model):
        with Server(*model, "--workers", 2) as server:
            for script in ("openai_client_test.py", "openai_schema_test.py"):
                result = subprocess.run([sys.executable, SCRIPTS / script, "--base-url", f"http://127.0.0.1:{server.port}"],
                                        capture_output=True, text=True, timeout=200 * TIME_SCALE)
                self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_embedded_model(self):
        self.check("tiny-moe")

    def test_gemma(self):
        self.check(GEMMA)


if __name__ == "__main__":
    unittest.main()
