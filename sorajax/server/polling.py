"""Polling clients for the benchmark, in a separate process, as real clients are.

python -m sorajax.server.polling ADDRESS VIDEO CLIENTS        (prints a line when each has been answered, and goes on)
"""

import asyncio
import sys

import httpx

PAUSE = 0.5  # seconds, as the answers say


async def poll(address: str, video: str, clients: int) -> None:
    """Asks until the process is ended. Each client has a connection, and begins at its own time within the pause."""
    answered = asyncio.Semaphore(0)

    async def ask(number: int, client: httpx.AsyncClient) -> None:
        await asyncio.sleep(PAUSE * number / clients)
        while True:
            await client.get(f"{address}/v1/videos/{video}")
            answered.release()
            await asyncio.sleep(PAUSE)

    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=clients)) as client:
        asking = asyncio.gather(*(ask(number, client) for number in range(clients)))
        for _ in range(2 * clients):
            await answered.acquire()
        print("polling", flush=True)
        await asking


if __name__ == "__main__":
    asyncio.run(poll(sys.argv[1], sys.argv[2], int(sys.argv[3])))
