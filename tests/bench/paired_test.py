"""Paired runs of two commands that count their runs, so that every number is known."""
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).with_name("paired.py")

# Appends its name to a log and prints the next of its numbers.
COMMAND = """
import json, pathlib, sys
log = pathlib.Path(sys.argv[1])
with log.open("a") as f: f.write(sys.argv[2])
numbers = json.loads(sys.argv[3])
print(json.dumps({"speed": numbers[log.read_text().count(sys.argv[2]) - 1], "rows": [{"n": 4}]}))
"""


class Paired(unittest.TestCase):
    def run_pair(self, a, b, *arguments):
        with tempfile.TemporaryDirectory() as folder:
            log = pathlib.Path(folder) / "log"
            commands = [shlex.join([sys.executable, "-c", COMMAND, str(log), name, json.dumps(numbers)])
                        for name, numbers in (("A", a), ("B", b))]
            done = subprocess.run([sys.executable, SCRIPT, "--a", commands[0], "--b", commands[1], *arguments],
                                  capture_output=True, text=True, timeout=60)
            return done, log.read_text()

    def test_ratios_are_of_pairs_and_the_warm_up_does_not_count(self):
        done, order = self.run_pair([1000, 10, 30, 20], [1, 10, 10, 10], "--repeat", "3", "--metric", "speed", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(order, "ABBAABBA")
        self.assertEqual(json.loads(done.stdout), [{
            "metric": "speed", "a": {"median": 20, "min": 10, "max": 30}, "b": {"median": 10, "min": 10, "max": 10},
            "ratio": {"median": 2, "min": 1, "max": 3}}])

    def test_a_path_for_each(self):
        done, _ = self.run_pair([8], [0], "--repeat", "1", "--warmup", "0", "--metric", "speed:rows.0.n")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("A / B      2.000  (2.000 to 2.000)", done.stdout)

    def test_errors_name_what_is_wrong(self):
        for metric, numbers, words in (("speed.x", [1], "no speed.x in the output (at 'x')"),
                                       ("rows.1.n", [1], "no rows.1.n"), ("rows", [1], "rows is no number"),
                                       ("speed", [0], "speed: B gave 0")):
            done, _ = self.run_pair(numbers, numbers, "--repeat", "1", "--warmup", "0", "--metric", metric)
            self.assertEqual(done.returncode, 1)
            self.assertIn(words, done.stderr)
        for command, words in (("false", "exit code 1 of false"), ("echo hello", "no JSON on the output of echo hello"),
                               ("no-such-program-here", "no-such-program-here")):
            done = subprocess.run([sys.executable, SCRIPT, "--a", command, "--b", command, "--metric", "x"],
                                  capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 1)
            self.assertIn(words, done.stderr)


if __name__ == "__main__":
    unittest.main()
