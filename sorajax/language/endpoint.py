"""A remote chat model: any server of OpenAI's chat completions, e.g. vLLM, Ollama, llama.cpp or a hosted one.

    Endpoint.ask: question -> cached answer, or: request -> JSON -> checked fields -> cache

An answer is a JSON object of the question's text fields; what is anything else is asked again, with another seed. The
client waits between tries of a server that is busy or failing, as long as the server says or twice as long each time.
Answers are files in a cache, named by a hash of everything that is sent (model, instruction, frames, seed), so that a
command that was killed does not ask again.

The key is read from the environment and sent to the server; it is in no field, message or file. OPENAI_API_KEY goes to
OpenAI alone, SORAJAX_ENDPOINT_KEY to any server.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sorajax.errors import BadRequest, one_line
from sorajax.files import cache_folder, write_atomically

KEY, OPENAI_KEY, OPENAI_HOST = "SORAJAX_ENDPOINT_KEY", "OPENAI_API_KEY", "api.openai.com"
NO_KEY = "none"
"""Sent where no key is set: local servers need none, and the client demands one."""
EXAMPLE = "http://localhost:8000/v1"
OPTIONAL = {"seed": r"\bseed\b", "response_format": "response_format|schema"}
"""Parameters that some servers refuse, and how their messages name them."""
LONGEST_MESSAGE = 160
"""Characters of a server's message in an error."""


REFUSAL = re.compile(
    r"(i['’]m|i am) (sorry|unable|not able|an ai)\b|i (cannot|can ?not|can['’]t|won['’]t)\b|as an ai\b", re.I
)
"""First words of refusals in the form of an answer."""
ProblemOf = Callable[[dict[str, str]], str]


class BadAnswer(ValueError):
    """One question has no usable answer; the message is one line."""


class EndpointError(OSError):
    """The server cannot answer any question: it cannot be reached, refuses the key or lacks the model. One line."""


class Question(NamedTuple):
    """A question: a system prompt, the parts of the user's message (text and pictures, as OpenAI's API has them), and
    the text fields of the answer, each with its largest number of words."""

    system: str
    parts: tuple[dict[str, Any], ...]
    fields: Mapping[str, int]
    seed: int = 0


@dataclass(frozen=True)
class Endpoint:
    """A model of a chat server. Raises BadRequest for a URL or limits that cannot be used."""

    url: str
    """Up to /v1, which is added to a URL without a path."""
    model: str
    timeout: float = 120.0
    """Seconds of one try."""
    tries: int = 4
    """Largest number of tries per question, after failed requests and unusable answers."""
    parallel: int = 4
    """Questions that are asked at the same time."""
    cache: Path = field(default_factory=lambda: cache_folder() / "sorajax" / "answers")
    refused: set[str] = field(default_factory=set, compare=False, repr=False)
    """The `OPTIONAL` parameters that the server has refused. Without a schema the instruction alone asks for JSON."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", checked_url(self.url))
        if not self.model.strip():
            raise BadRequest(f"the endpoint {self.url} needs the name of a model, as the server lists it")
        if self.tries < 1 or self.parallel < 1 or not self.timeout > 0:
            raise BadRequest(
                f"an endpoint with {self.tries} tries, {self.parallel} at a time and {self.timeout:g} s is not "
                "possible: use 1 or more, and a time above 0"
            )

    def ask(self, question: Question, problem_of: ProblemOf = lambda answer: "") -> dict[str, str]:
        """The fields of the answer. `problem_of` says what else is wrong with an answer, "" if nothing is. Raises
        BadAnswer after the last try, and EndpointError where the server answers no question at all."""
        file = self.cache / f"{self.digest(question)}.json"
        if file.exists():
            return checked_fields(file.read_text(encoding="utf-8"), question.fields)
        for number in range(self.tries):
            try:
                answer = checked_fields(self._complete(question, question.seed + number), question.fields)
                if wrong := problem_of(answer):
                    raise UnusableText(wrong)
            except UnusableText as error:
                problem = error
                continue
            text = json.dumps(answer, ensure_ascii=False)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, lambda path, text=text: path.write_text(text, encoding="utf-8"))
            return answer
        raise BadAnswer(f"{self.model} gave no usable answer in {self.tries} tries: {self._shown(problem)}")

    def digest(self, question: Question) -> str:
        """A hash of everything that decides the answer. The server's address does not: a model may move."""
        content = [self.model, question.system, question.parts, dict(question.fields), question.seed]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]

    def _complete(self, question: Question, seed: int) -> str:
        """The text of one completion. Raises UnusableText, BadAnswer and EndpointError."""
        client = self.client
        import openai

        messages = [{"role": "system", "content": question.system}, {"role": "user", "content": list(question.parts)}]
        optional = {"seed": seed, "response_format": json_schema(question.fields)}
        optional = {name: value for name, value in optional.items() if name not in self.refused}
        try:
            answer = client.chat.completions.create(model=self.model, messages=messages, **optional)
        except openai.APITimeoutError:
            raise BadAnswer(f"{self.url} gave no answer within {self.timeout:g} s, in {self.tries} tries") from None
        except openai.APIConnectionError as error:
            raise EndpointError(
                f"{self.url} cannot be reached ({self._shown(error.__cause__ or error)}): start the server, or check "
                "the address"
            ) from None  # a client's error holds its request, and with it the key
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise EndpointError(
                f"{self.url} refuses the key ({error.status_code}): set {self._key_name} in the environment"
            ) from None
        except openai.NotFoundError as error:
            raise EndpointError(
                f"{self.url} does not have {self.model} (404, {self._shown(error)}): check the name of the model, and "
                "that the URL ends as the server's does, mostly in /v1"
            ) from None
        except openai.APIStatusError as error:
            said = str(error) if error.status_code in (400, 422, 501) else ""
            if refused := {name for name in optional if re.search(OPTIONAL[name], said)}:
                self.refused.update(refused)
                return self._complete(question, seed)
            tries = (
                f", in {self.tries} tries" if error.status_code in (408, 409, 429) or error.status_code > 499 else ""
            )
            raise BadAnswer(f"{self.url} answers {error.status_code} ({self._shown(error)}){tries}") from None
        except (openai.APIResponseValidationError, ValueError) as error:
            raise UnusableText(f"the server's response is no JSON ({one_line(error)})") from None
        return text_of(answer)

    @cached_property
    def client(self) -> Any:
        """The client, which is safe in several threads. Raises BadRequest where its package is missing, and for a key
        that cannot be one."""
        try:
            import openai
        except ImportError as error:
            raise BadRequest('a chat server needs OpenAI\'s client: pip install "sorajax[endpoint]"') from error
        client = openai.OpenAI(
            api_key=self._key or NO_KEY, base_url=self.url, timeout=self.timeout, max_retries=self.tries - 1
        )
        if not self._is_openai:  # these name an account there, and are read from the environment
            client.organization = client.project = None
        return client

    @property
    def _is_openai(self) -> bool:
        return urlsplit(self.url).hostname == OPENAI_HOST

    @property
    def _key_name(self) -> str:
        return f"{KEY} or {OPENAI_KEY}" if self._is_openai else KEY

    @property
    def _key(self) -> str:
        key = (os.environ.get(KEY) or (os.environ.get(OPENAI_KEY, "") if self._is_openai else "")).strip()
        if not (key.isascii() and key.isprintable()):
            raise BadRequest(f"the key in {self._key_name} has letters that no key has: copy it again")
        return key

    def _shown(self, error: BaseException) -> str:
        """A short message of an error on one line, without the key, should the server repeat it."""
        body = getattr(error, "body", None)
        said = body.get("message") if isinstance(body, dict) else None
        text = " ".join(str(said or error).split()) or type(error).__name__
        return (text.replace(self._key, "***") if self._key else text)[:LONGEST_MESSAGE]


class UnusableText(ValueError):
    """A completion that cannot be used, but is worth another try."""


def checked_url(url: str) -> str:
    """The URL of a server, with /v1 where it has no path. Raises BadRequest, and repeats no password in it."""
    parts = urlsplit(url.strip())
    if parts.username or parts.password or parts.query or parts.fragment:
        raise BadRequest(
            f"the URL of {parts.hostname} has a user, password or query in it: give it up to /v1, e.g. {EXAMPLE}, and "
            f"the key in the environment, in {KEY}"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadRequest(f"{url} is not the URL of a server: write e.g. {EXAMPLE}")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"


def json_schema(fields: Mapping[str, int]) -> dict[str, Any]:
    """The response format of an answer with these text fields."""
    text = {name: {"type": "string"} for name in fields}
    schema = {"type": "object", "properties": text, "required": list(fields), "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def text_of(answer: Any) -> str:
    """The text of a chat completion. Raises UnusableText for a refusal, a text that is cut off, and none."""
    choices = getattr(answer, "choices", None)
    if not choices or getattr(choices[0], "message", None) is None:
        raise UnusableText("the server's response is no chat completion")
    message = choices[0].message
    if getattr(message, "refusal", None) or choices[0].finish_reason == "content_filter":
        raise UnusableText(f"the model refuses: {one_line(ValueError(message.refusal or 'its content filter'))}")
    if choices[0].finish_reason == "length":
        raise UnusableText("the answer is cut off: give the server a longer context")
    if not isinstance(message.content, str) or not message.content.strip():
        raise UnusableText("the answer is empty")
    return message.content


def checked_fields(text: str, fields: Mapping[str, int]) -> dict[str, str]:
    """The fields of an answer, each on one line. Reasoning before the JSON and code fences around it are stripped.

    Raises UnusableText where the answer is no JSON object of these fields, or one is empty or has too many words.
    """
    text = re.sub(r"^.*</think>", "", text, flags=re.DOTALL)
    start, end = text.find("{"), text.rfind("}")
    try:
        answer = json.loads(text[start : end + 1] if 0 <= start < end else text)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise UnusableText(f"{one_line(ValueError(text))[:60]!r} is no JSON object")
    checked = {}
    for name, most in fields.items():
        value = answer.get(name)
        if not isinstance(value, str) or not value.strip():
            raise UnusableText(
                f"the answer has no text {name!r}, it has {', '.join(map(str, answer))[:60] or 'nothing'}"
            )
        checked[name] = " ".join(value.split())
        if REFUSAL.match(checked[name]):
            raise UnusableText(f"the model refuses: {checked[name][:60]!r}")
        if (words := len(checked[name].split())) > most:
            raise UnusableText(f"{name!r} has {words} words, at most {most} were allowed")
    return checked
