"""The official Anthropic client: messages, streams, tools, thinking, count_tokens, errors. Every answer and event fits its schema."""

import json

import anthropic
import jsonschema

import client_suite
from client_suite import BROKEN, CALL, SET_UNIT, THOUGHT, TWO_CALLS, UNIT, WEATHER, expect, expect_equal, refused, say

TOOLS = [{"name": "get_weather", "description": "Weather of a city", "input_schema": WEATHER}]


def make(url):
    client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, timeout=120)
    suite = client_suite.Suite(url, client.models.list().data[0].id, "anthropic")
    suite.client = client
    return suite


def settings(suite, text, more):
    messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
    # This client has no word for the temperature any more.
    return {"model": suite.model, "messages": messages, "max_tokens": suite.tokens_max, "extra_body": {"temperature": 0}} | more


def ask(suite, text, **more):
    suite.calls += 1
    message = suite.client.messages.create(**settings(suite, text, more))
    suite.check("message", message.to_dict(mode="json"))
    return message


def stream(suite, text, **more):
    """The client's own final message, after a check of each raw event and of their order."""
    suite.calls += 2
    kinds = []
    for event in suite.client.messages.create(**settings(suite, text, more), stream=True):
        suite.check("stream_event", event.to_dict(mode="json"))
        kinds.append(event.type)
    expect_equal((kinds[0], kinds[-2:]), ("message_start", ["message_delta", "message_stop"]))
    expect_equal(kinds.count("content_block_start"), kinds.count("content_block_stop"))
    with suite.client.messages.stream(**settings(suite, text, more)) as events:
        return events.get_final_message()


def shown(message):
    """The blocks without their ids, the reason of the end, the number of tokens."""
    blocks = []
    for block in message.content:
        value = {"text": getattr(block, "text", None), "thinking": getattr(block, "thinking", None),
                 "input": getattr(block, "input", None), "name": getattr(block, "name", None)}
        blocks.append((block.type, {k: v for k, v in value.items() if v is not None}))
    return blocks, message.stop_reason, message.usage.output_tokens


def answers_and_streams_agree(suite):
    for text in ("Hello there.", "Grüße, 世界! 😀", TWO_CALLS, CALL, BROKEN, THOUGHT, THOUGHT + CALL):
        expect_equal(shown(stream(suite, say(text), tools=TOOLS)), shown(ask(suite, say(text), tools=TOOLS)))


def tool_use_blocks(suite):
    message = ask(suite, say(TWO_CALLS), tools=TOOLS)
    one = ask(suite, say(TWO_CALLS), tools=TOOLS, tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    none = ask(suite, say(CALL), tools=TOOLS, tool_choice={"type": "none"})
    if not suite.scripted:
        return
    expect_equal(shown(message)[:2], ([("text", {"text": "Let me see."}), ("tool_use", {"name": "get_weather", "input": {"city": "Ulm"}}),
                                       ("tool_use", {"name": "get_weather", "input": {"city": "Bonn"}})], "tool_use"))
    expect(all(b.id.startswith("toolu_") for b in message.content if b.type == "tool_use"), message)
    expect_equal([b.type for b in one.content], ["text", "tool_use"])
    expect_equal(shown(none)[:2], ([("text", {"text": CALL})], "end_turn"))


def calls_can_be_forced(suite):
    tools = TOOLS + [{"name": "set_unit", "input_schema": UNIT, "strict": True}]
    more = {"thinking": {"type": "disabled"}, "max_tokens": 120}
    for given, choice in ((tools, {"type": "tool", "name": "set_unit"}), (tools[1:], {"type": "any", "disable_parallel_tool_use": True})):
        for answer in (ask, stream):
            message = answer(suite, say(SET_UNIT), tools=given, tool_choice=choice, **more)
            expect_equal(([b.type for b in message.content], message.stop_reason), (["tool_use"], "tool_use"))
            expect_equal(message.content[0].name, "set_unit")
            jsonschema.validate(message.content[0].input, UNIT)
    form = {"format": {"type": "json_schema", "schema": UNIT}}
    message = ask(suite, say('{"unit": "f"}'), output_config=form, **more)
    jsonschema.validate(json.loads(message.content[0].text), UNIT)


def two_step_loop(suite):
    messages = [{"role": "user", "content": [{"type": "text", "text": say(CALL, "It is cold in Ulm.")}]}]
    first = ask(suite, messages, tools=TOOLS)
    uses = [b.to_dict(mode="json") for b in first.content if b.type == "tool_use"] or [
        {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Ulm"}}]
    for content in ("3 degrees", [{"type": "text", "text": "3 degrees"}]):
        conversation = messages + [
            {"role": "assistant", "content": uses},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": uses[0]["id"], "content": content}]}]
        second = ask(suite, conversation, tools=TOOLS)
        expect_equal(shown(stream(suite, conversation, tools=TOOLS)), shown(second))
        if suite.scripted:
            expect_equal(second.content[0].text, "It is cold in Ulm.")


def thinking_blocks(suite):
    for thinking in ({"type": "enabled", "budget_tokens": 1024}, {"type": "disabled"}):
        message = ask(suite, say(THOUGHT), thinking=thinking)
        if suite.scripted:
            expect_equal(shown(message)[0], [("thinking", {"thinking": "They greet me."}), ("text", {"text": "Hello!"})])
    if suite.scripted:
        again = ask(suite, [{"role": "user", "content": say(CALL, "Cold.")},
                            {"role": "assistant", "content": [
                                {"type": "thinking", "thinking": "Look it up.", "signature": ""},
                                {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Ulm"}}]},
                            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "3"}]}],
                    tools=TOOLS)
        expect_equal(again.content[0].text, "Cold.")


def prompt_tokens(message):
    return message.usage.input_tokens + message.usage.cache_read_input_tokens


def system_prompts(suite):
    text = ask(suite, say("Yes."), system="Be short.")
    blocks = ask(suite, say("Yes."), system=[{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}])
    without = ask(suite, say("Yes."))
    expect_equal(prompt_tokens(text), prompt_tokens(blocks))
    expect(prompt_tokens(without) < prompt_tokens(text), text)


def counts_tokens(suite):
    for more in ({}, {"system": "Be short."}, {"tools": TOOLS}):
        suite.calls += 1
        messages = [{"role": "user", "content": say("Hello.")}]
        count = suite.client.messages.count_tokens(model=suite.model, messages=messages, **more)
        suite.check("count_tokens", count.to_dict(mode="json"))
        expect_equal(count.input_tokens, prompt_tokens(ask(suite, messages, **more)))


def ends_have_reasons(suite):
    limit = ask(suite, say("One two three four five six"), max_tokens=2)
    stop = ask(suite, say("alpha beta gamma"), stop_sequences=["gamma"])
    expect_equal(limit.usage.output_tokens, 2)
    expect_equal(limit.stop_reason, "max_tokens")
    if suite.scripted:
        expect_equal((stop.stop_reason, stop.stop_sequence, stop.content[0].text), ("stop_sequence", "gamma", "alpha beta "))


def an_answer_may_be_begun(suite):
    message = ask(suite, [{"role": "user", "content": say("and on")}, {"role": "assistant", "content": "So on"}])
    expect(message.content or not suite.scripted, message)


def errors_have_their_class(suite):
    suite.calls += 5
    create = suite.client.messages.create
    hello = [{"role": "user", "content": "Hi"}]

    def bad(kind, part, **more):
        error = refused(kind, lambda: create(**({"model": suite.model, "messages": hello, "max_tokens": 4} | more)), part)
        suite.check("error", error.body)

    bad(anthropic.NotFoundError, "no-such", model="no-such")
    bad(anthropic.BadRequestError, "messages", messages=[])
    bad(anthropic.BadRequestError, "flurble", messages=[{"role": "user", "content": [{"type": "flurble"}]}])
    bad(anthropic.BadRequestError, "context", messages=[{"role": "user", "content": "river " * 40_000}])
    bad(anthropic.BadRequestError, "tools[0]", tools=[{"type": "web_search_20250305", "name": "web_search"}])


if __name__ == "__main__":
    client_suite.run("Anthropic", make, [
        answers_and_streams_agree, tool_use_blocks, calls_can_be_forced, two_step_loop, thinking_blocks, system_prompts, counts_tokens, ends_have_reasons,
        an_answer_may_be_begun, errors_have_their_class,
    ])
