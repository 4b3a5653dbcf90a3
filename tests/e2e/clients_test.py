"""The official clients and recorded requests of every dialect against the real program, with a model that is told of tools."""
import os
import pathlib
import subprocess
import sys
import unittest

from barn_process import GEMMA, TIME_SCALE, Server

SCRIPTS = pathlib.Path(os.environ["BARN_SOURCE_DIR"]) / "tests/coordinator/http"
TEMPLATE = pathlib.Path(os.environ["BARN_TEST_SHARED"]) / "oracles/templates/Qwen-Qwen3-0.6B.jinja"


class Clients(unittest.TestCase):
    def test_gemma_with_a_template_that_knows_tools(self):
        with Server(GEMMA, "--workers", 1, "--chat-template", TEMPLATE) as server:
            for script in ("openai_tools_test.py", "openai_responses_test.py", "anthropic_client_test.py", "ollama_client_test.py",
                           "openai_schema_test.py", "dialect_schema_test.py"):
                result = subprocess.run([sys.executable, SCRIPTS / script, "--base-url", f"http://127.0.0.1:{server.port}"],
                                        capture_output=True, text=True, timeout=400 * TIME_SCALE)
                self.assertEqual(result.returncode, 0, script + result.stdout + result.stderr)


if __name__ == "__main__":
    unittest.main()
