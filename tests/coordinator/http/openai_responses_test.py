"""The official OpenAI client's responses: text, reasoning, tools, streams, errors. The client's own types validate what comes."""

import json

import jsonschema
import openai
import pydantic
from openai.types.responses import Response, ResponseStreamEvent

import client_suite
from client_suite import BROKEN, CALL, SET_UNIT, THOUGHT, TWO_CALLS, UNIT, WEATHER, expect, expect_equal, refused, say

TOOLS = [{"type": "function", "name": "get_weather", "description": "Weather of a city", "parameters": WEATHER, "strict": False}]
WHOLE, EVENT = pydantic.TypeAdapter(Response), pydantic.TypeAdapter(ResponseStreamEvent)


def make(url):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120)
    suite = client_suite.Suite(url, client.models.list().data[0].id, "openai")
    suite.client = client
    return suite


def ask(suite, given, **more):
    suite.calls += 1
    settings = {"model": suite.model, "input": given, "max_output_tokens": suite.tokens_max, "temperature": 0} | more
    response = suite.client.responses.create(**settings)
    WHOLE.validate_python(response.to_dict(mode="python"))
    return response


def stream(suite, given, **more):
    """The events, checked one by one, and the response of the last."""
    suite.calls += 1
    settings = {"model": suite.model, "input": given, "max_output_tokens": suite.tokens_max, "temperature": 0} | more
    events = list(suite.client.responses.create(**settings, stream=True))
    for number, event in enumerate(events):
        EVENT.validate_python(event.to_dict(mode="python"))
        expect_equal(event.sequence_number, number)
    kinds = [event.type for event in events]
    expect_equal(kinds[:2], ["response.created", "response.in_progress"])
    expect_equal(kinds[-1], f"response.{events[-1].response.status}")
    for what in ("output_item", "content_part"):
        expect_equal(kinds.count(f"response.{what}.added"), kinds.count(f"response.{what}.done"))
    done = [e.item for e in events if e.type == "response.output_item.done"]
    expect_equal([item.to_dict() for item in done], [item.to_dict() for item in events[-1].response.output])
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    expect_equal(text, events[-1].response.output_text)
    return events[-1].response


def shown(response):
    items = []
    for item in response.output:
        if item.type == "function_call":
            items.append((item.type, item.name, item.arguments))
        else:
            items.append((item.type, "".join(part.text for part in item.content)))
    return items, response.status, response.usage.output_tokens


def answers_and_streams_agree(suite):
    for text in ("Hello there.", "Grüße, 世界! 😀", THOUGHT, CALL, TWO_CALLS, THOUGHT + CALL, BROKEN, " ", "So: " + CALL):
        expect_equal(shown(stream(suite, say(text), tools=TOOLS)), shown(ask(suite, say(text), tools=TOOLS)))


def log_probabilities_are_the_texts(suite):
    for answer in (ask, stream):
        part = answer(suite, say("Grüße, 世界!"), top_logprobs=2, include=["message.output_text.logprobs"]).output[-1].content[0]
        expect_equal("".join(bytes(one.bytes).decode() if one.bytes is not None else one.token for one in part.logprobs).strip(), part.text)
        for one in part.logprobs:
            expect(one.logprob <= 0 and len(one.top_logprobs) >= 2, one)
        expect_equal(answer(suite, say("Hello there.")).output[-1].content[0].logprobs, [])


def items_by_kind(suite):
    response = ask(suite, say(THOUGHT + CALL), tools=TOOLS)
    if suite.scripted:
        expect_equal(shown(response)[0], [("reasoning", "They greet me."), ("message", "Hello!"),
                                          ("function_call", "get_weather", '{"city": "Ulm"}')])
    for answer in (ask, stream):
        cut = answer(suite, say("One two three four"), max_output_tokens=2)
        expect_equal((cut.status, cut.incomplete_details.reason), ("incomplete", "max_output_tokens"))
        expect_equal(cut.output[0].status, "incomplete")


def calls_can_be_forced(suite):
    tools = TOOLS + [{"type": "function", "name": "set_unit", "parameters": UNIT, "strict": True}]
    more = {"reasoning": {"effort": "none"}, "max_output_tokens": 120, "parallel_tool_calls": False}
    for given, choice in ((tools, {"type": "function", "name": "set_unit"}), (tools[1:], "required")):
        for answer in (ask, stream):
            response = answer(suite, say(SET_UNIT), tools=given, tool_choice=choice, **more)
            expect_equal([(item.type, item.name) for item in response.output], [("function_call", "set_unit")])
            jsonschema.validate(json.loads(response.output[0].arguments), UNIT)
    form = {"format": {"type": "json_schema", "name": "unit", "schema": UNIT, "strict": True}}
    for given in ([], TOOLS):
        response = ask(suite, say('{"unit": "f"}'), text=form, tools=given, **more)
        if response.output[0].type == "message":
            jsonschema.validate(json.loads(response.output_text), UNIT)
        else:
            expect(given and not suite.scripted, response)
        expect_equal(response.text.format.name, "unit")


def usage_adds_up(suite):
    usage = ask(suite, say(THOUGHT)).usage
    expect_equal(usage.total_tokens, usage.input_tokens + usage.output_tokens)
    expect(0 <= usage.input_tokens_details.cached_tokens < usage.input_tokens, usage)
    if suite.scripted:
        expect(0 < usage.output_tokens_details.reasoning_tokens < usage.output_tokens, usage)
        expect_equal(ask(suite, say("Yes.")).usage.output_tokens_details.reasoning_tokens, 0)


def the_request_is_echoed(suite):
    response = ask(suite, say("Yes."), instructions="Be short.", metadata={"a": "b"}, tools=TOOLS, tool_choice="none", user="ana",
                   truncation="auto", top_p=0.5)
    expect_equal((response.instructions, response.metadata, response.tool_choice, response.user, response.truncation, response.top_p),
                 ("Be short.", {"a": "b"}, "none", "ana", "auto", 0.5))
    expect_equal((response.tools[0].name, response.error, response.store), ("get_weather", None, False))


def two_step_loop(suite):
    items = [{"role": "user", "content": [{"type": "input_text", "text": say(CALL, "It is cold in Ulm.")}]}]
    first = ask(suite, items, tools=TOOLS, instructions="Be short.")
    calls = [item.to_dict(mode="json") for item in first.output] if suite.scripted else [
        {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": '{"city": "Ulm"}'}]
    expect_equal([item["type"] for item in calls], ["function_call"])
    for output in ("3 degrees", [{"type": "input_text", "text": "3 degrees"}]):
        both = items + calls + [{"type": "function_call_output", "call_id": calls[0]["call_id"], "output": output}]
        whole, streamed = ask(suite, both, tools=TOOLS), stream(suite, both, tools=TOOLS)
        expect_equal(streamed.output_text, whole.output_text)
        if suite.scripted:
            expect_equal(whole.output_text, "It is cold in Ulm.")


def conversations_are_sent_whole(suite):
    items = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello."},
             {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Greet."}]},
             {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
              "content": [{"type": "output_text", "text": "Hi.", "annotations": []}]},
             {"role": "user", "content": [{"type": "input_text", "text": say("Yes.")}]}]
    response = ask(suite, items, reasoning={"effort": "low"})
    if suite.scripted:
        expect_equal(response.output_text, "Yes.")


def errors_have_their_class(suite):
    suite.calls += 12
    create = suite.client.responses.create

    def bad(part, **more):
        settings = {"model": suite.model, "input": "x", "max_output_tokens": 4} | more
        for stream in (False, True):
            error = refused(openai.BadRequestError, lambda: create(**settings, stream=stream), part)
            suite.check("error", {"error": error.body})

    bad("conversations", previous_response_id="resp_1")
    bad("tools[0]", tools=[{"type": "web_search"}])
    bad("input", input=[])
    bad("input[0]", input=[{"type": "item_reference", "id": "msg_1"}])
    bad("text alone", input=[{"role": "user", "content": [{"type": "input_image", "image_url": "http://x/y.png", "detail": "auto"}]}])
    bad("max_output_tokens", max_output_tokens=0)
    bad("top_logprobs", top_logprobs=30)
    bad("include", include="message.output_text.logprobs")
    refused(openai.NotFoundError, lambda: create(model="no-such", input="x"), "no-such")


if __name__ == "__main__":
    client_suite.run("OpenAI responses", make, [
        answers_and_streams_agree, log_probabilities_are_the_texts, items_by_kind, calls_can_be_forced, usage_adds_up, the_request_is_echoed, two_step_loop, conversations_are_sent_whole,
        errors_have_their_class,
    ])
