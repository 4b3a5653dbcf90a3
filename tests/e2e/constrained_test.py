"""Answers held to a form by the real program: schemas and grammars, streamed, several at once, over two workers."""
import concurrent.futures
import json
import re
import unittest
import urllib.error
import urllib.request

import jsonschema

from barn_process import GEMMA, Server

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["red", "green"]}, "minItems": 1, "maxItems": 3},
    },
    "required": ["name", "age", "tags"], "additionalProperties": False,
}


def form(schema):
    return {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}


class Constrained(unittest.TestCase):
    def post(self, path, **body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.server.port}/v1/{path}", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as reply:
            return reply.read().decode()

    def chat(self, **body):
        return json.loads(self.post("chat/completions", messages=[{"role": "user", "content": "Describe a person."}], **body))

    def complete(self, **body):
        return json.loads(self.post("completions", prompt="Numbers: ", **body))["choices"]

    def check(self, *model):
        with Server(*model, "--workers", 2) as self.server:
            self.schemas()
            self.grammars()
            self.streams()
            self.ollama()
            self.together()
            self.refusals()

    def schemas(self):
        for seed in range(3):
            answer = self.chat(response_format=form(PERSON), n=2, temperature=1.5, seed=seed, max_tokens=200)
            for choice in answer["choices"]:
                self.assertEqual(choice["finish_reason"], "stop", choice)
                jsonschema.validate(json.loads(choice["message"]["content"]), PERSON)
        greedy = [self.chat(response_format=form(PERSON), temperature=0, max_tokens=200) for _ in range(2)]
        self.assertEqual(greedy[0]["choices"], greedy[1]["choices"])
        cut = self.chat(response_format={"type": "json_object"}, max_tokens=3)["choices"][0]
        content = cut["message"]["content"]
        self.assertTrue(content.startswith("{"), content)
        self.assertEqual(cut["finish_reason"], "stop" if content.rstrip().endswith("}") else "length")
        self.assertIn("content", self.chat(response_format={"type": "text"}, max_tokens=3)["choices"][0]["message"])

    def grammars(self):
        for choice in self.complete(grammar='root ::= [0-9]{3} ("," [0-9]{3}){2}', n=3, temperature=1.2, max_tokens=40):
            self.assertRegex(choice["text"], r"^\d{3},\d{3},\d{3}$")
            self.assertEqual(choice["finish_reason"], "stop")
        choice = self.complete(grammar='root ::= "yes" | "no"', logprobs=5, max_tokens=8)[0]
        self.assertIn(choice["text"], ("yes", "no"))
        # Log probabilities are of the allowed tokens: together they are 1.
        first = choice["logprobs"]["top_logprobs"][0]
        self.assertTrue(all(text and ("yes".startswith(text) or "no".startswith(text)) for text in first), first)
        # A stop string ends an answer before its grammar does.
        choice = self.complete(grammar='root ::= "abc" "def" [x]{0,9}', stop="cd", max_tokens=20)[0]
        self.assertEqual((choice["text"], choice["finish_reason"]), ("ab", "stop"))
        # A grammar that never has to end: the end token is allowed everywhere but at the start.
        choice = self.complete(grammar="root ::= [a-c]+", max_tokens=5, temperature=1)[0]
        self.assertRegex(choice["text"], "^[a-c]+$")

    def streams(self):
        text = self.post("chat/completions", messages=[{"role": "user", "content": "Hi"}], stream=True, max_tokens=200,
                         response_format=form(PERSON), temperature=1)
        events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        content = "".join(e["choices"][0]["delta"].get("content", "") for e in events)
        jsonschema.validate(json.loads(content), PERSON)
        self.assertEqual(events[-1]["choices"][0]["finish_reason"], "stop")

    def ollama(self):
        model = self.server.get("/v1/models")[1]["data"][0]["id"]
        body = {"model": model, "messages": [{"role": "user", "content": "Describe a person."}], "stream": False,
                "options": {"num_predict": 200, "seed": 3}}
        for wanted, schema in ((PERSON, PERSON), ("json", {"type": "object"})):
            status, reply = self.server.post("/api/chat", {**body, "format": wanted})
            self.assertEqual(status, 200, reply)
            if reply["done_reason"] == "stop":
                jsonschema.validate(json.loads(reply["message"]["content"]), schema)
            else:
                self.assertTrue(reply["message"]["content"].startswith("{"), reply)
        status, reply = self.server.post("/api/chat", {**body, "format": "xml"})
        self.assertEqual((status, "format" in reply["error"]), (400, True), reply)

    def together(self):
        """Constrained and free answers share steps; each keeps its own form, and the free ones do not change."""
        def free():
            return self.complete(max_tokens=16, temperature=0)[0]["text"]

        def held(digit):
            return self.complete(grammar=f'root ::= "{digit}"{{1,20}} "!"', max_tokens=40, temperature=1)[0]["text"]

        alone = free()
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            texts = [pool.submit(held, digit) for digit in range(8)]
            frees = [pool.submit(free) for _ in range(4)]
            for digit, text in enumerate(texts):
                self.assertTrue(re.fullmatch(f"{digit}{{1,20}}!", text.result()), text.result())
            for text in frees:
                self.assertEqual(text.result(), alone)

    def refusals(self):
        for body, words in (({"grammar": "root ::= ("}, "line 1, column 10"),
                            ({"response_format": form({"properties": {"a": {"not": {}}}})}, "#/properties/a/not"),
                            ({"grammar": "root ::= [a-z]", "ignore_eos": True}, "cannot be combined")):
            with self.assertRaises(urllib.error.HTTPError) as refused:
                self.complete(**body)
            self.assertEqual(refused.exception.code, 400)
            self.assertIn(words, json.load(refused.exception)["error"]["message"])

    def test_embedded_model(self):
        self.check("tiny-moe")

    def test_gemma(self):
        self.check(GEMMA)


if __name__ == "__main__":
    unittest.main()
