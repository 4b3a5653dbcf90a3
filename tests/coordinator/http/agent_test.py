"""An agent framework (openai-agents) runs a tool loop of two steps: the scripted model calls a tool, gets its result, answers.

Once over chat completions and once over responses.
"""

import asyncio

import agents
import openai

import http_under_trial
from client_suite import CALL, expect, expect_equal, say


def two_steps(url, kind):
    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120)
    agents.set_tracing_disabled(True)
    asked = []

    @agents.function_tool
    def get_weather(city: str) -> str:
        """Weather of a city."""
        asked.append(city)
        return "3 degrees"

    agent = agents.Agent(name="clerk", instructions="Be short.", tools=[get_weather], model=kind(model="fake-model", openai_client=client))
    question = say(CALL, "It is cold in Ulm.")

    async def both():
        result = await agents.Runner.run(agent, question)
        run = agents.Runner.run_streamed(agent, question)
        kinds = [event.type async for event in run.stream_events()]
        return result.final_output, run.final_output, kinds

    whole, streamed, kinds = asyncio.run(both())
    expect_equal((whole, streamed, asked), ("It is cold in Ulm.", "It is cold in Ulm.", ["Ulm", "Ulm"]))
    expect("run_item_stream_event" in kinds, kinds)


def over_chat_completions(url):
    two_steps(url, agents.OpenAIChatCompletionsModel)


def over_responses(url):
    two_steps(url, agents.OpenAIResponsesModel)


if __name__ == "__main__":
    http_under_trial.run([over_chat_completions, over_responses])
