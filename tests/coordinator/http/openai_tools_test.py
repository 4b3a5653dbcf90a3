"""The official OpenAI client on a model with a chat template: tools, reasoning, streams. Every answer and event fits its schema."""

import json

import jsonschema
import openai

import client_suite
from client_suite import BROKEN, CALL, SET_UNIT, THOUGHT, TWO_CALLS, UNIT, WEATHER, expect, expect_equal, refused, say

TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Weather of a city", "parameters": WEATHER}}]


def make(url):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120)
    suite = client_suite.Suite(url, client.models.list().data[0].id, "openai")
    suite.client = client
    return suite


def ask(suite, text, **more):
    suite.calls += 1
    messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
    settings = {"model": suite.model, "messages": messages, "max_tokens": suite.tokens_max, "temperature": 0} | more
    answer = suite.client.chat.completions.create(**settings)
    if not settings.get("stream"):
        suite.check("chat_completion", answer.to_dict(mode="json"))
        return answer.choices[0]
    events = list(answer)
    for event in events:
        suite.check("chat_completion_chunk", event.to_dict(mode="json"))
    return events


def joined(events):
    """Content, reasoning, calls [(name, arguments)] and the end of a stream."""
    content, reasoning, calls, finish = "", "", {}, None
    for event in events:
        for choice in event.choices:
            content += choice.delta.content or ""
            reasoning += getattr(choice.delta, "reasoning_content", None) or ""
            finish = choice.finish_reason or finish
            for call in choice.delta.tool_calls or []:
                name, arguments = calls.get(call.index, ("", ""))
                calls[call.index] = (name + (call.function.name or ""), arguments + (call.function.arguments or ""))
    return content, reasoning, [calls[i] for i in sorted(calls)], finish


def answers_and_streams_agree(suite):
    for text in ("Hello there.", "Grüße, 世界! 😀", TWO_CALLS, CALL, BROKEN, THOUGHT, THOUGHT + CALL, " "):
        whole = ask(suite, say(text), tools=TOOLS)
        streamed = joined(ask(suite, say(text), tools=TOOLS, stream=True))
        message = whole.message
        calls = [(call.function.name, call.function.arguments) for call in message.tool_calls or []]
        expect_equal(streamed, (message.content or "", getattr(message, "reasoning_content", None) or "", calls,
                                whole.finish_reason))


def calls_are_parsed(suite):
    choice = ask(suite, say(TWO_CALLS), tools=TOOLS)
    one = ask(suite, say(TWO_CALLS), tools=TOOLS, parallel_tool_calls=False)
    none = ask(suite, say(CALL), tools=TOOLS, tool_choice="none")
    auto = ask(suite, say(CALL), tools=TOOLS, tool_choice="auto")
    bare = ask(suite, say(CALL))
    if not suite.scripted:
        return
    expect_equal([json.loads(c.function.arguments)["city"] for c in choice.message.tool_calls], ["Ulm", "Bonn"])
    expect_equal((choice.message.content, choice.finish_reason), ("Let me see.", "tool_calls"))
    expect_equal(len({c.id for c in choice.message.tool_calls}), 2)
    expect_equal(len(one.message.tool_calls), 1)
    expect_equal((none.message.tool_calls, none.message.content), (None, CALL))
    expect_equal(auto.finish_reason, "tool_calls")
    expect_equal((bare.message.tool_calls, bare.message.content), (None, CALL))


def calls_can_be_forced(suite):
    tools = TOOLS + [{"type": "function", "function": {"name": "set_unit", "parameters": UNIT, "strict": True}}]
    named = {"type": "function", "function": {"name": "set_unit"}}
    for given, choice in ((tools, named), (tools[1:], "required")):
        more = {"tools": given, "tool_choice": choice, "max_tokens": 120, "reasoning_effort": "none", "parallel_tool_calls": False}
        forced = ask(suite, say(SET_UNIT), **more)
        calls = [(c.function.name, json.loads(c.function.arguments)) for c in forced.message.tool_calls or []]
        expect_equal([name for name, _ in calls], ["set_unit"])
        jsonschema.validate(calls[0][1], UNIT)
        expect_equal((forced.finish_reason, forced.message.content), ("tool_calls", None))
        streamed = joined(ask(suite, say(SET_UNIT), stream=True, **more))
        expect_equal((streamed[2][0][0], streamed[3]), ("set_unit", "tool_calls"))
    # An answer of a schema is right beside tools, too.
    form = {"type": "json_schema", "json_schema": {"name": "unit", "schema": UNIT}}
    choice = ask(suite, say('{"unit": "f"}'), response_format=form, max_tokens=120, reasoning_effort="none")
    jsonschema.validate(json.loads(choice.message.content), UNIT)


def malformed_calls_are_text(suite):
    for text in (BROKEN, '<tool_call>{"name": "rm -rf"}</tool_call>', '<tool_call>{"name": "get_wea'):
        choice = ask(suite, say(text), tools=TOOLS)
        if suite.scripted:
            expect_equal((choice.message.content, choice.finish_reason, choice.message.tool_calls), (text, "stop", None))


def two_step_loop(suite):
    messages = [{"role": "user", "content": say(CALL, "It is cold in Ulm.")}]
    first = ask(suite, messages, tools=TOOLS)
    calls = [c.to_dict(mode="json") for c in first.message.tool_calls or []] or [
        {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Ulm"}'}}]
    messages += [{"role": "assistant", "content": None, "tool_calls": calls},
                 {"role": "tool", "tool_call_id": calls[0]["id"], "content": "3 degrees"}]
    second = ask(suite, messages, tools=TOOLS)
    streamed = joined(ask(suite, messages, tools=TOOLS, stream=True))
    expect_equal(streamed[0], second.message.content)
    if suite.scripted:
        expect_equal(second.message.content, "It is cold in Ulm.")


def reasoning_is_apart(suite):
    for effort in (None, "low", "medium", "high", "none"):
        more = {} if effort is None else {"reasoning_effort": effort}
        choice = ask(suite, say(THOUGHT), **more)
        if suite.scripted:
            expect_equal((choice.message.reasoning_content, choice.message.content), ("They greet me.", "Hello!"))
    events = ask(suite, say(THOUGHT), stream=True, stream_options={"include_usage": True})
    expect(events[-1].usage.completion_tokens > 0 and events[-1].choices == [], events[-1])


def several_choices(suite):
    suite.calls += 1
    answer = suite.client.chat.completions.create(model=suite.model, messages=[{"role": "user", "content": say(CALL)}], n=3,
                                                  tools=TOOLS, max_tokens=suite.tokens_max, seed=1)
    suite.check("chat_completion", answer.to_dict(mode="json"))
    expect_equal([c.index for c in answer.choices], [0, 1, 2])


def limits_stops_logprobs(suite):
    for limit in (1, 2, 5):
        choice = ask(suite, say("One two three four five six seven"), max_tokens=limit)
        expect(choice.finish_reason == "length" or not suite.scripted, choice)
    stopped = ask(suite, say("alpha beta gamma"), stop=["gamma"])
    scored = ask(suite, say("alpha"), logprobs=True, top_logprobs=2)
    expect(scored.logprobs.content and len(scored.logprobs.content[0].top_logprobs) == 2, scored)
    ask(suite, say("alpha"), logprobs=True, stream=True)
    if suite.scripted:
        expect_equal((stopped.message.content, stopped.finish_reason), ("alpha beta ", "stop"))


def an_answer_may_be_continued(suite):
    messages = [{"role": "user", "content": say("and on")}, {"role": "assistant", "content": "So on"}]
    choice = ask(suite, messages, extra_body={"continue_final_message": True})
    expect(choice.message.content or not suite.scripted, choice)


def errors_have_their_class(suite):
    suite.calls += 4
    make_chat = suite.client.chat.completions.create
    hello = [{"role": "user", "content": "Hi"}]
    refused(openai.NotFoundError, lambda: make_chat(model="no-such", messages=hello), "no-such")
    refused(openai.BadRequestError, lambda: make_chat(model=suite.model, messages=hello, tools=[{"type": "function"}]), "tools[0]")
    refused(openai.BadRequestError,
            lambda: make_chat(model=suite.model, messages=hello, tools=TOOLS,
                              tool_choice={"type": "function", "function": {"name": "nope"}}), "nope")
    refused(openai.BadRequestError,
            lambda: make_chat(model=suite.model, messages=[{"role": "tool", "content": "x"}]), "tool_call_id")


if __name__ == "__main__":
    client_suite.run("OpenAI", make, [
        answers_and_streams_agree, calls_are_parsed, calls_can_be_forced, malformed_calls_are_text, two_step_loop, reasoning_is_apart, several_choices,
        limits_stops_logprobs, an_answer_may_be_continued, errors_have_their_class,
    ])
