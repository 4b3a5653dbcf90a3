"""The official Ollama client: chat, generate, streams, tools, thinking, lists, errors. Every answer and line fits its schema."""

import ollama

import client_suite
from client_suite import BROKEN, CALL, THOUGHT, TWO_CALLS, WEATHER, expect, expect_equal, refused, say

TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Weather of a city", "parameters": WEATHER}}]


def make(url):
    client = ollama.Client(host=url, timeout=120)
    suite = client_suite.Suite(url, client.list().models[0].model, "ollama")
    suite.client = client
    return suite


def options(suite, **more):
    return {"temperature": 0, "num_predict": suite.tokens_max} | more


def plain(answer):
    return answer.model_dump(mode="json", exclude_none=True)


def call(suite, kind, **more):
    """One answer of chat or generate; with stream, all lines as one."""
    suite.calls += 1
    more = {"model": suite.model, "options": options(suite)} | more
    answer = getattr(suite.client, kind)(**more)
    if not more.get("stream"):
        suite.check(kind, plain(answer))
        return answer
    lines = list(answer)
    for line in lines[:-1]:
        suite.check(f"{kind}_event", plain(line))
    suite.check(f"{kind}_last_event", plain(lines[-1]))
    return lines


def chat(suite, text, **more):
    messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
    return call(suite, "chat", messages=messages, **more)


def calls_of(message):
    return [(c.function.name, dict(c.function.arguments)) for c in message.tool_calls or []]


def chats_and_streams_agree(suite):
    for text in ("Hello there.", "Grüße, 世界! 😀", TWO_CALLS, CALL, BROKEN, THOUGHT, THOUGHT + CALL):
        whole = chat(suite, say(text), tools=TOOLS)
        lines = chat(suite, say(text), tools=TOOLS, stream=True)
        expect_equal("".join(x.message.content for x in lines), whole.message.content)
        expect_equal("".join(x.message.thinking or "" for x in lines), whole.message.thinking or "")
        expect_equal([c for x in lines for c in calls_of(x.message)], calls_of(whole.message))
        expect_equal((lines[-1].done_reason, lines[-1].eval_count), (whole.done_reason, whole.eval_count))


def generates_and_streams_agree(suite):
    for text in ("Hello there.", THOUGHT, CALL):
        whole = call(suite, "generate", prompt=say(text))
        lines = call(suite, "generate", prompt=say(text), stream=True)
        expect_equal("".join(x.response for x in lines), whole.response)
        expect_equal("".join(x.thinking or "" for x in lines), whole.thinking or "")
        expect(whole.prompt_eval_count > 0 and whole.eval_count > 0, whole)


def calls_are_objects(suite):
    message = chat(suite, say(TWO_CALLS), tools=TOOLS).message
    if suite.scripted:
        expect_equal(calls_of(message), [("get_weather", {"city": "Ulm"}), ("get_weather", {"city": "Bonn"})])
        expect_equal(message.content, "Let me see.")


def python_functions_are_tools(suite):
    def get_weather(city: str) -> str:
        """Weather of a city.

        Args:
          city: its name
        """
        return city

    message = chat(suite, say(CALL), tools=[get_weather]).message
    if suite.scripted:
        expect_equal(calls_of(message), [("get_weather", {"city": "Ulm"})])


def two_step_loop(suite):
    messages = [{"role": "user", "content": say(CALL, "It is cold in Ulm.")}]
    first = chat(suite, messages, tools=TOOLS)
    answer = first.message if first.message.tool_calls else {
        "role": "assistant", "content": "", "tool_calls": [{"function": {"name": "get_weather", "arguments": {"city": "Ulm"}}}]}
    messages += [answer, {"role": "tool", "tool_name": "get_weather", "content": "3 degrees"}]
    second = chat(suite, messages, tools=TOOLS)
    lines = chat(suite, messages, tools=TOOLS, stream=True)
    expect_equal("".join(x.message.content for x in lines), second.message.content)
    if suite.scripted:
        expect_equal(second.message.content, "It is cold in Ulm.")


def thinking(suite):
    for think in (True, False, "low", "high"):
        message = chat(suite, say(THOUGHT), think=think).message
        if suite.scripted:
            expect_equal((message.thinking, message.content), ("They greet me.", "Hello!"))


def options_matter(suite):
    short = chat(suite, say("One two three four five"), options=options(suite, num_predict=2))
    expect_equal((short.done_reason, short.eval_count), ("length", 2))
    stopped = chat(suite, say("alpha beta gamma"), options=options(suite, stop=["gamma"], seed=7, num_ctx=2048))
    raw = call(suite, "generate", prompt="1, 2, 3,", raw=True, options=options(suite, num_predict=5))
    expect_equal(raw.eval_count, 5)
    system = call(suite, "generate", prompt=say("Yes."), system="Be short.", keep_alive="5m")
    bare = call(suite, "generate", prompt=say("Yes."))
    expect(system.prompt_eval_count > bare.prompt_eval_count, system)
    scored = call(suite, "generate", prompt=say("Yes."), logprobs=True, top_logprobs=2)
    expect(scored.logprobs and len(scored.logprobs[0].top_logprobs) == 2, scored)
    if suite.scripted:
        expect_equal(stopped.message.content, "alpha beta ")


def loads_and_unloads(suite):
    expect_equal(call(suite, "generate", prompt="").done_reason, "load")
    expect_equal(call(suite, "generate", prompt="", keep_alive=0).done_reason, "unload")
    expect_equal(chat(suite, []).done_reason, "load")
    expect_equal(chat(suite, [], keep_alive=0).done_reason, "unload")


def embeds(suite):
    suite.calls += 6
    one = suite.check("embed", plain(suite.client.embed(suite.model, input="A small cat")))
    two = suite.check("embed", plain(suite.client.embed(f"{suite.model}:latest", input=["A small cat", "A large ship"])))
    expect_equal(two["embeddings"][0], one["embeddings"][0])
    expect(two["embeddings"][0] != two["embeddings"][1], two)
    expect(two["prompt_eval_count"] > one["prompt_eval_count"] > 0, two)
    for vector in two["embeddings"]:
        expect(abs(sum(v * v for v in vector) - 1) < 1e-4, "vectors have length 1")
    short = suite.client.embed(suite.model, input="A small cat", dimensions=4, truncate=False, keep_alive="5m")
    expect_equal(len(short.embeddings[0]), 4)
    old = suite.check("embeddings_legacy", plain(suite.client.embeddings(suite.model, prompt="A small cat")))
    scale = sum(v * v for v in old["embedding"]) ** 0.5
    expect(all(abs(a / scale - b) < 1e-5 for a, b in zip(old["embedding"], one["embeddings"][0])), old)
    expect_equal(refused(ollama.ResponseError, lambda: suite.client.embed("no-such", input="x")).status_code, 404)
    expect_equal(list(suite.client.embed(suite.model, input=[]).embeddings), [])


def lists(suite):
    suite.calls += 4
    names = [m.model for m in suite.client.list().models]
    expect_equal(names, [suite.model])
    expect_equal([m.model for m in suite.client.ps().models], names)
    info = suite.client.show(suite.model)
    expect("completion" in info.capabilities and "tools" in info.capabilities, info)
    suite.client.show(f"{suite.model}:latest")


def the_store_is_fixed(suite):
    suite.calls += 9
    expect_equal(suite.client.pull(suite.model).status, "success")
    lines = [plain(line) for line in suite.client.pull(f"{suite.model}:latest", stream=True)]
    expect_equal([suite.check("progress_event", line)["status"] for line in lines], ["success"])
    for status, call_it in (
            (501, lambda: suite.client.pull("no-such")),
            (501, lambda: suite.client.push(suite.model)),
            (501, lambda: suite.client.create("new", from_=suite.model)),
            (501, lambda: suite.client.copy(suite.model, "new")),
            (404, lambda: suite.client.copy("no-such", "new")),
            (409, lambda: suite.client.delete(suite.model)),
            (404, lambda: suite.client.delete("no-such"))):
        error = refused(ollama.ResponseError, call_it)
        expect_equal(error.status_code, status)
    expect_equal([m.model for m in suite.client.list().models], [suite.model])


def errors_have_their_status(suite):
    suite.calls += 4
    for status, call_it in (
            (404, lambda: suite.client.chat("no-such", messages=[])),
            (404, lambda: suite.client.show("no-such")),
            (400, lambda: suite.client.generate(suite.model, prompt="x", suffix="y")),
            (400, lambda: suite.client.generate(suite.model, prompt="x", raw=True, system="y"))):
        expect_equal(refused(ollama.ResponseError, call_it).status_code, status)


if __name__ == "__main__":
    client_suite.run("Ollama", make, [
        chats_and_streams_agree, generates_and_streams_agree, calls_are_objects, python_functions_are_tools, two_step_loop, thinking,
        options_matter, loads_and_unloads, embeds, lists, the_store_is_fixed,
        errors_have_their_status,
    ])
