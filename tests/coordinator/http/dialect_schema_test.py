"""Sends the recorded Anthropic requests and the documented Ollama ones, and validates the answers by the shared schemas.

As openai_schema_test: requests of shared/oracles/http with the model's name replaced, the oracle's own check.py for status, schema and
order of events.
"""

import json

import http_under_trial
from openai_schema_test import CHECK, ORACLE, send, served

# What needs a model whose template knows tools, or reasoning: otherwise 400.
WITH_TOOLS = {"anthropic-tool-result", "anthropic-count-tokens-tools", "anthropic-tools-any", "anthropic-tools-named",
              "anthropic-tools-stream", "ollama-chat-tools"}
WITH_REASONING = {"ollama-chat-think"}
# The reference server answered these differently (README of the oracle).
STATUS = {
    "anthropic-bad-json": 400, "anthropic-bad-missing-messages": 400, "anthropic-bad-missing-max-tokens": 400,
    "anthropic-bad-content-type": 400, "anthropic-bad-method": 405,
}


def records(dialect):
    name = "ollama_expected.jsonl" if dialect == "ollama" else "transcripts.jsonl"
    for line in (ORACLE / name).read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["dialect"] == dialect and record.get("server") != "keyed" and record["request"]["path"] != "/":
            yield record


def body_of(record, model):
    request = record["request"]
    if request.get("body") is None:
        return request.get("body_text")
    body = dict(request["body"])
    if body.get("model") in ("gemma3-270m", "M"):
        body["model"] = model["id"]
    if "too-long" in record["id"]:
        body["messages"] = [{"role": "user", "content": "river " * (2 * model["barn"]["context_tokens"])}]
    # Long enough for the checks, short enough for a slow model.
    if record["dialect"] == "ollama" and request["path"] in ("/api/generate", "/api/chat") and "options" not in body:
        body["options"] = {"num_predict": 8}
    return json.dumps(body)


def expected_status(record, model):
    name = record["id"]
    capable = {True: WITH_TOOLS if not model["barn"]["tools"] else set(),
               False: WITH_REASONING if not model["barn"]["reasoning"] else set()}
    if name in capable[True] | capable[False]:
        return 400
    return STATUS.get(name, record["response"]["status"])


def problems(record, url, model):
    answer = send(url, record["request"]["method"], record["request"]["path"], body_of(record, model))
    status = expected_status(record, model)
    if answer["status"] != status:
        return [f"status {answer['status']} in place of {status}: {json.dumps(answer.get('body'))[:300]}"]
    checked = {"dialect": record["dialect"], "request": record["request"], "response": answer}
    for key in ("schema", "event_schema", "last_event_schema"):
        checked[key] = record.get(key) if status < 300 else None
    if status >= 300:
        checked["schema"] = f"{record['dialect']}/error.json"
    return CHECK.problems(checked)


def check_all(url, dialect, count_min):
    model = served(url)
    found, count = [], 0
    for record in records(dialect):
        count += 1
        found += [f"{record['id']}: {problem}" for problem in problems(record, url, model)]
    if found or count < count_min:
        raise AssertionError(f"{count} records; " + "\n".join(found))


def anthropic_requests(url):
    check_all(url, "anthropic", 19)


def ollama_requests(url):
    check_all(url, "ollama", 32)


if __name__ == "__main__":
    http_under_trial.run([anthropic_requests, ollama_requests])
