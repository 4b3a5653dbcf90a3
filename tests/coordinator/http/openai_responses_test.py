"""The official OpenAI client's responses: text, reasoning, tools, streams, errors. The client's own types validate what comes."""

import openai
import pydantic
from openai.types.responses import Response, ResponseStreamEvent

import client_suite
from client_suite import CALL, THOUGHT, TWO_CALLS, WEATHER, expect, expect_equal, refused, say

TOOLS = [{"type": "function", "name": "get_weather", "description": "Weather of a city", "parameters": WEATHER, "strict": False}]
WHOLE, EVENT = pydantic.TypeAdapter(Response), pydantic.TypeAdapter(ResponseStreamEvent)


def make(url):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120)
    suite = client_suite.Suite(url, client.models.list().data[0].id, "openai")
    suite.client = client
    return suite


def ask(suite, given, **more):
    suite.calls += 1
    settings = {"model": suite.model, "input": given, "max_output_tokens": 120, "temperature": 0} | more
    response = suite.client.responses.create(**settings)
    WHOLE.validate_python(response.to_dict(mode="python"))
    return response


def stream(suite, given, **more):
    """The events, checked one by one, and the response of the last."""
    suite.calls += 1
    settings = {"model": suite.model, "input": given, "max_output_tokens": 120, "temperature": 0} | more
    events = list(suite.client.responses.create(**settings, stream=True))
    for number, event in enumerate(events):
        EVENT.validate_python(event.to_dict(mode="python"))
        expect_equal(event.sequence_number, number)
    expect_equal(events[0].type, "response.created")
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
    for text in ("Hello there.", "Grüße, 世界! 😀", THOUGHT, CALL, TWO_CALLS, THOUGHT + CALL):
        expect_equal(shown(stream(suite, say(text), tools=TOOLS)), shown(ask(suite, say(text), tools=TOOLS)))


def items_by_kind(suite):
    response = ask(suite, say(THOUGHT + CALL), tools=TOOLS)
    if suite.scripted:
        expect_equal(shown(response)[0], [("reasoning", "They greet me."), ("message", "Hello!"),
                                          ("function_call", "get_weather", '{"city": "Ulm"}')])
    cut = ask(suite, say("One two three four"), max_output_tokens=2)
    expect_equal((cut.status, cut.incomplete_details.reason), ("incomplete", "max_output_tokens"))


def two_step_loop(suite):
    items = [{"role": "user", "content": [{"type": "input_text", "text": say(CALL, "It is cold in Ulm.")}]}]
    first = ask(suite, items, tools=TOOLS, instructions="Be short.")
    calls = [item for item in first.output if item.type == "function_call"]
    if not suite.scripted:
        return
    items += [item.to_dict(mode="json") for item in first.output]
    items.append({"type": "function_call_output", "call_id": calls[0].call_id, "output": "3 degrees"})
    expect_equal(ask(suite, items, tools=TOOLS).output_text, "It is cold in Ulm.")


def errors_have_their_class(suite):
    create = suite.client.responses.create
    refused(openai.BadRequestError, lambda: create(model=suite.model, input="x", previous_response_id="resp_1"), "conversations")
    refused(openai.BadRequestError, lambda: create(model=suite.model, input="x", tools=[{"type": "web_search"}]), "tools[0]")
    refused(openai.BadRequestError, lambda: create(model=suite.model, input=[]), "input")
    refused(openai.NotFoundError, lambda: create(model="no-such", input="x"), "no-such")


if __name__ == "__main__":
    client_suite.run("OpenAI responses", make, [answers_and_streams_agree, items_by_kind, two_step_loop, errors_have_their_class],
                     calls_min=15)
