"""The official OpenAI client against a Barn server: lists, completes, streams, reads log probabilities and errors."""

import concurrent.futures
import math

import openai

import http_under_trial

HELLO = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Say hello."}]


def client(url):
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60)


def model(url):
    return client(url).models.list().data[0].id


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


def expect_equal(got, want):
    expect(got == want, f"{got!r} is not {want!r}")


def lists_models(url):
    name = model(url)
    one = client(url).models.retrieve(name)
    expect_equal(one.id, name)
    expect("role prefixes" in one.model_extra["barn"]["chat_template"], one)


def completes(url):
    answer = client(url).completions.create(model=model(url), prompt="The sky is", max_tokens=5, temperature=0)
    choice = answer.choices[0]
    expect(choice.finish_reason in ("length", "stop"), choice)
    expect(0 < answer.usage.completion_tokens <= 5, answer.usage)
    expect_equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)


def streams_the_same_text(url):
    settings = dict(model=model(url), prompt="The capital of France is", max_tokens=12, temperature=0)
    whole = client(url).completions.create(**settings)
    events = list(client(url).completions.create(**settings, stream=True, stream_options={"include_usage": True}))
    expect_equal("".join(c.text for e in events for c in e.choices), whole.choices[0].text)
    expect_equal(events[-1].usage, whole.usage)


def several_prompts_and_choices(url):
    answer = client(url).completions.create(model=model(url), prompt=["One, two,", "Red, green,"], n=2, max_tokens=3, seed=7)
    expect_equal([c.index for c in answer.choices], [0, 1, 2, 3])


def completion_logprobs(url):
    settings = dict(model=model(url), prompt="The capital of France is", max_tokens=4, temperature=0, logprobs=3)
    choice = client(url).completions.create(**settings).choices[0]
    logprobs = choice.logprobs
    expect_equal("".join(logprobs.tokens), choice.text)
    for name, value, top, offset in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, logprobs.text_offset):
        expect(value <= 0 and 3 <= len(top) <= 4, top)
        expect(math.isclose(value, max(top.values()), abs_tol=1e-6), "greedy takes the best token")
        expect(choice.text[offset:].startswith(name), (name, offset))
    echo = client(url).completions.create(**(settings | {"max_tokens": 1}), echo=True).choices[0]
    expect(echo.text.startswith(settings["prompt"]), echo.text)
    expect(echo.logprobs.token_logprobs[0] is None, "nothing predicts the first token")
    expect(all(value <= 0 for value in echo.logprobs.token_logprobs[1:]), echo.logprobs.token_logprobs)


def chats(url):
    answer = client(url).chat.completions.create(model=model(url), messages=HELLO, max_tokens=8, temperature=0)
    expect_equal(answer.choices[0].message.role, "assistant")
    events = list(client(url).chat.completions.create(model=model(url), messages=HELLO, max_tokens=8, temperature=0, stream=True))
    expect_equal(events[0].choices[0].delta.role, "assistant")
    expect_equal("".join(e.choices[0].delta.content or "" for e in events), answer.choices[0].message.content)
    expect_equal(events[-1].choices[0].finish_reason, answer.choices[0].finish_reason)


def chat_logprobs(url):
    settings = dict(model=model(url), messages=HELLO, max_completion_tokens=3, temperature=0, logprobs=True, top_logprobs=2)
    choice = client(url).chat.completions.create(**settings).choices[0]
    tokens = choice.logprobs.content
    expect_equal(b"".join(bytes(t.bytes) for t in tokens).decode("utf-8", "replace"), choice.message.content)
    for token in tokens:
        expect_equal(len(token.top_logprobs), 2)
        expect_equal(token.top_logprobs[0].token, token.token)


def stops(url):
    settings = dict(model=model(url), prompt="1, 2, 3, 4,", max_tokens=20, temperature=0)
    text = client(url).completions.create(**settings).choices[0].text
    stop = text[len(text) // 2:][:2]
    choice = client(url).completions.create(**settings, stop=[stop]).choices[0]
    expect_equal(choice.text, text[:text.index(stop)])
    expect_equal(choice.finish_reason, "stop")


def embeddings(url):
    inputs = ["A small cat", "A large ship", "A small cat"]
    # The client asks for base64 and decodes it; as numbers they are the same floats.
    answer = client(url).embeddings.create(model=model(url), input=inputs)
    plain = client(url).embeddings.create(model=model(url), input=inputs, encoding_format="float")
    vectors = [item.embedding for item in answer.data]
    expect_equal([item.index for item in answer.data], [0, 1, 2])
    for item, vector in zip(plain.data, vectors, strict=True):  # Decimal digits of a float round by themselves.
        expect(all(abs(a - b) <= 1e-7 for a, b in zip(item.embedding, vector, strict=True)), "base64 differs from float")
    expect_equal(vectors[0], vectors[2])
    expect(vectors[0] != vectors[1], vectors[0])
    for vector in vectors:
        expect(math.isclose(sum(v * v for v in vector), 1, rel_tol=1e-5), "vectors have length 1")
    expect(answer.usage.prompt_tokens > 6 and answer.usage.total_tokens == answer.usage.prompt_tokens, answer.usage)
    short = client(url).embeddings.create(model=model(url), input=inputs[0], dimensions=4).data[0].embedding
    scale = math.sqrt(sum(v * v for v in vectors[0][:4]))
    expect(all(math.isclose(a, b / scale, rel_tol=1e-4, abs_tol=1e-6) for a, b in zip(short, vectors[0])), short)
    expect_equal(len(short), 4)
    ids = client(url).embeddings.create(model=model(url), input=[[5, 6, 7], [8]])
    expect_equal(ids.usage.prompt_tokens, 4)
    expect_equal(client(url).embeddings.create(model=model(url), input=[5, 6, 7]).data[0].embedding, ids.data[0].embedding)


def errors_have_their_class(url):
    def refused(kind, **settings):
        try:
            client(url).completions.create(**({"model": model(url), "prompt": "x", "max_tokens": 1} | settings))
        except kind as error:
            return error
        raise AssertionError(f"{settings} was accepted")

    expect_equal(refused(openai.NotFoundError, model="no-such-model").code, "model_not_found")
    expect_equal(refused(openai.BadRequestError, temperature=9).param, "temperature")
    expect_equal(refused(openai.BadRequestError, max_tokens=-1).param, "max_tokens")
    context = client(url).models.list().data[0].model_extra["barn"]["context_tokens"]
    long = refused(openai.BadRequestError, prompt=[5] * (context + 10))
    expect_equal(long.code, "context_length_exceeded")
    expect(str(context) in long.message and str(context + 10) in long.message, long.message)


def streams_side_by_side(url):
    def one(number):
        settings = dict(model=model(url), prompt=f"Number {number}:", max_tokens=10, temperature=0)
        return "".join(e.choices[0].text for e in client(url).completions.create(**settings, stream=True))

    alone = [one(number) for number in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        expect_equal(list(pool.map(one, range(8))), alone)


if __name__ == "__main__":
    http_under_trial.run([
        lists_models, completes, streams_the_same_text, several_prompts_and_choices, completion_logprobs, chats, chat_logprobs,
        stops, embeddings, errors_have_their_class, streams_side_by_side,
    ])
