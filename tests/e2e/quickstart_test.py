"""The command that a new user types, to its end."""
import os
import subprocess
import sys
import tempfile
import unittest

from barn_process import free_port


class Quickstart(unittest.TestCase):
    def test_streams_an_answer(self):
        with tempfile.TemporaryDirectory() as home:
            result = subprocess.run([os.path.join(os.environ["BARN_SOURCE_DIR"], "deploy/quickstart.sh"), "--no-wait"],
                                    env={**os.environ, "BARN_PORT": str(free_port()), "BARN_HOME": home},
                                    capture_output=True, text=True, timeout=1500)
        sys.stdout.write(result.stdout)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("The function returns a tuple of the arguments", result.stdout)


if __name__ == "__main__":
    unittest.main()
