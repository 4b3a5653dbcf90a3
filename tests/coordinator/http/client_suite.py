"""What the suites of the official clients share: schemas of the oracle, counting of calls, and prompts for the scripted engine.

A suite runs against fake_openai_server --template NAME, whose model says what it is asked to, or against a real model, where only
shapes can be checked: test functions get a Suite and ask `scripted`.
"""

import json
import pathlib

import jsonschema

import http_under_trial

SCHEMAS = pathlib.Path(__file__).resolve().parents[4] / "shared" / "oracles" / "http" / "schemas"
CALLS_MIN = 40

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
# What a real model is forced to: short whatever it writes.
UNIT = {"type": "object", "properties": {"unit": {"enum": ["c", "f"]}}, "required": ["unit"], "additionalProperties": False}
SET_UNIT = '<tool_call>\n{"name": "set_unit", "arguments": {"unit": "c"}}\n</tool_call>'
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Ulm"}}\n</tool_call>'
TWO_CALLS = f"Let me see.\n{CALL}\n{CALL.replace('Ulm', 'Bonn')}"
THOUGHT = "<think>\nThey greet me.\n</think>\n\nHello!"
BROKEN = '<tool_call>{"name": "get_weather", "arguments": {"city": </tool_call>'


def say(*answers):
    """A user's text that makes the scripted model answer so, one answer after each tool result."""
    return "Do as I ask: " + " ".join(f"[[say]]{answer}[[/say]]" for answer in answers)


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


def expect_equal(got, want):
    expect(got == want, f"{got!r} is not {want!r}")


class Suite:
    def __init__(self, url, model, dialect):
        self.url, self.model, self.dialect = url, model, dialect
        self.scripted = model == "fake-model"
        self.tokens_max = 120 if self.scripted else 16  # Of an answer: a real model's words prove nothing here.
        self.calls = 0
        self.validators = {}

    def check(self, schema, value):
        """Validates one answer or event; returns it."""
        name = f"{self.dialect}/{schema}.json"
        if name not in self.validators:
            self.validators[name] = jsonschema.Draft202012Validator(
                json.loads((SCHEMAS / name).read_text(encoding="utf-8")), format_checker=jsonschema.FormatChecker())
        problems = list(self.validators[name].iter_errors(value))
        expect(not problems, f"{name}: {problems[0].message if problems else ''} in {json.dumps(value)[:400]}")
        return value


def refused(kind, call, *parts):
    """The error of a call that must fail with this class and with these words in its message."""
    try:
        call()
    except kind as error:
        for part in parts:
            expect(part in str(error), f"{part!r} is not in {error}")
        return error
    raise AssertionError("a bad request was accepted")


def run(dialect, make, tests, calls_min=CALLS_MIN):
    """Runs the tests with make(url) -> Suite, then checks that they made enough calls."""
    suites = []

    def bind(test):
        def bound(url):
            if not suites:
                suites.append(make(url))
            test(suites[0])
        bound.__name__ = test.__name__
        return bound

    def enough_calls(_):
        expect(suites[0].calls >= calls_min, f"{suites[0].calls} calls")
        print(f"{suites[0].calls} calls to the {dialect} dialect")

    http_under_trial.run([bind(test) for test in tests] + [enough_calls])
