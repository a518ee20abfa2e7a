"""A chat server on a free port, whose answers a test writes; it remembers what it was asked."""

import asyncio
import json
import threading
import time
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

CAPTION = {"short": "a red ball bounces", "detailed": "A red ball bounces on a grey floor."}


def completion(content, **choice):
    """A chat completion with this text."""
    message = {"role": "assistant", "content": content, **choice.pop("message", {})}
    first = {"index": 0, "message": message, "finish_reason": "stop", **choice}
    return JSONResponse({"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [first]})


def captioned(short="a red ball bounces", detailed="A red ball bounces on a grey floor."):
    return completion(json.dumps({"short": short, "detailed": detailed}))


def failing(status, message="no", **headers):
    return JSONResponse({"error": {"message": message}}, status_code=status, headers=headers)


class ChatServer:
    """`replies`: what the next requests are answered with, in order, then `usual`; each a response, or a function of
    the request's body, or seconds to wait before the one that follows."""

    def __init__(self):
        self.bodies, self.headers, self.replies, self.usual = [], [], [], lambda body: captioned()
        self.now, self.most = 0, 0
        self.lock = threading.Lock()
        self.app = FastAPI()
        self.app.post("/v1/chat/completions")(self.answer)

    async def answer(self, request: Request):
        body = await request.json()
        with self.lock:
            self.bodies.append(body)
            self.headers.append(dict(request.headers))
            self.now += 1
            self.most = max(self.most, self.now)
            wait, reply = 0.0, self.next()
            while isinstance(reply, float):
                wait, reply = wait + reply, self.next()
        try:
            await asyncio.sleep(wait)
            return reply if isinstance(reply, Response) else reply(body)
        finally:
            with self.lock:
                self.now -= 1

    def next(self):
        return self.replies.pop(0) if self.replies else self.usual

    def reset(self):
        self.bodies, self.headers, self.replies, self.usual = [], [], [], lambda body: captioned()
        self.now, self.most = 0, 0


@contextmanager
def serving():
    """A chat server while the block runs."""
    chat = ChatServer()
    server = uvicorn.Server(uvicorn.Config(chat.app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < until
        time.sleep(0.01)
    chat.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    try:
        yield chat
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)
