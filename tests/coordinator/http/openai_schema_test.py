"""Sends every recorded OpenAI request that this server supports, and bad ones, and validates the answers by the shared schemas.

Takes the requests of shared/oracles/http/transcripts.jsonl, with the model's name replaced by the served one, and checks status,
schema and order of stream events with the oracle's own check.py.
"""

import http.client
import importlib.util
import json
import pathlib
import urllib.parse

import http_under_trial

ORACLE = pathlib.Path(__file__).resolve().parents[4] / "shared" / "oracles" / "http"

# Where the model's chat template does not know tools, these recorded requests must get a 400 that names the field.
REFUSED_WITHOUT_TOOLS = dict.fromkeys((
    "openai-chat-tools-auto", "openai-chat-tool-result", "openai-chat-tools-required", "openai-chat-tools-named",
    "openai-chat-tools-stream"), "tools")
# The reference server answered these differently (README of the oracle).
STATUS = {
    "openai-bad-json": 400, "openai-bad-empty-body": 400, "openai-bad-role": 400, "openai-bad-method": 405,
    "openai-bad-unknown-model": 404, "openai-bad-embeddings-empty": 400,
}


def load_check():
    spec = importlib.util.spec_from_file_location("check", ORACLE / "check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHECK = load_check()


def read_event(block):
    """{event, data} of one block of an event stream; None for a comment."""
    fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
    if not fields:
        return None
    if not set(fields) <= {"event", "data"}:
        raise AssertionError(f"event {block!r}")
    return {"event": fields.get("event"), "data": fields["data"] if fields["data"] == "[DONE]" else json.loads(fields["data"])}


def send(url, method, path, body):
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=60)
    connection.request(method, path, body, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    text = reply.read().decode("utf-8")
    connection.close()
    answer = {"status": reply.status, "content_type": reply.getheader("Content-Type")}
    if answer["content_type"].startswith("text/event-stream"):
        answer["events"] = [event for event in map(read_event, text.split("\n\n")) if event]
    elif answer["content_type"].startswith("application/x-ndjson"):
        answer["events"] = [{"event": None, "data": json.loads(line)} for line in text.splitlines()]
    else:
        answer["body"] = json.loads(text)
    return answer


def served(url):
    return send(url, "GET", "/v1/models", None)["body"]["data"][0]


def prepared(record, model):
    """The request's body for this server, or None. The prompts that must not fit are made to exceed its context."""
    request = record["request"]
    if request.get("body") is None:
        return request.get("body_text")
    body = dict(request["body"])
    if body.get("model") == "gemma3-270m":
        body["model"] = model["id"]
    # Recorded ids are of another vocabulary; every one has these.
    if isinstance(body.get("prompt"), list) and isinstance(body["prompt"][0], int):
        body["prompt"] = [5, 6, 7]
    if "logit_bias" in body:
        body["logit_bias"] = {"9": -100}
    if "too-long" in record["id"]:
        body["messages"] = [{"role": "user", "content": "river " * (2 * model["barn"]["context_tokens"])}]
    return json.dumps(body)


def problems(record, url, model):
    answer = send(url, record["request"]["method"], record["request"]["path"], prepared(record, model))
    name, request = record["id"], record["request"]
    refused = {} if model["barn"]["tools"] else REFUSED_WITHOUT_TOOLS
    checked = {"dialect": "openai", "request": request, "response": answer}
    for key in ("schema", "event_schema"):
        checked[key] = record.get(key)
    if name in refused:
        checked["schema"], checked["event_schema"] = "openai/error.json", None
        if answer["status"] != 400 or answer["body"]["error"]["param"] != refused[name]:
            return [f"status {answer['status']}, {answer.get('body')}"]
    elif answer["status"] != STATUS.get(name, record["response"]["status"]):
        return [f"status {answer['status']}, {json.dumps(answer.get('body'))[:300]}"]
    if record["response"]["status"] < 300 and name not in refused and name not in STATUS:
        want = record["response"]["content_type"].split(";")[0]
        if answer["content_type"].split(";")[0] != want:
            return [f"content type {answer['content_type']}"]
    return CHECK.problems(checked)


def recorded_requests(url):
    model = served(url)
    found, count = [], 0
    for line in (ORACLE / "transcripts.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["dialect"] != "openai" or record["server"] == "keyed":  # people_test has keys.
            continue
        count += 1
        found += [f"{record['id']}: {problem}" for problem in problems(record, url, model)]
    if found or count < 49:
        raise AssertionError(f"{count} records; " + "\n".join(found))


if __name__ == "__main__":
    http_under_trial.run([recorded_requests])
