"""Webhooks: events in the database, signed by the Standard Webhooks specification, and sent until they are accepted."""

import json
import threading
from datetime import UTC, datetime

import httpx
from sqlalchemy import Engine, delete, select, update
from sqlalchemy.exc import OperationalError
from standardwebhooks import Webhook

from sorajax.errors import one_line
from sorajax.server.database import EVENTS, now
from sorajax.server.logs import log

LOOKED = 0.5  # seconds between looks for new events
PATIENCE = 10.0  # seconds for an answer
WAITS = (2, 10, 60, 300, 1800, 3600, 3600 * 6)  # seconds before each further attempt


class Webhooks:
    """Sends events to one address."""

    def __init__(self, engine: Engine, address: str, secret: str):
        """secret: "whsec_" and base64. Raises ValueError for any other."""
        self.engine, self.address, self.signer = engine, address, Webhook(secret)
        self.stopping = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with httpx.Client(timeout=PATIENCE, follow_redirects=False) as client:
            while not self.stopping.wait(LOOKED):
                try:
                    self.send_due(client)
                except OperationalError as error:
                    log("webhooks wait", level="error", error=one_line(error))

    def send_due(self, client: httpx.Client) -> None:
        """Sends the events that are due; one that is not accepted is due again later, and is given up in the end."""
        c = EVENTS.c
        with self.engine.connect() as connection:
            due = connection.execute(
                select(EVENTS).where(c.next_attempt <= now()).order_by(c.created_at).limit(20)
            ).all()
        for event in due:
            taken = self._send(client, event)
            with self.engine.begin() as connection:
                if taken or event.attempts >= len(WAITS):
                    connection.execute(delete(EVENTS).where(c.id == event.id))
                else:
                    later = {"attempts": event.attempts + 1, "next_attempt": now() + WAITS[event.attempts]}
                    connection.execute(update(EVENTS).where(c.id == event.id).values(later))
            log("webhook", level="info" if taken else "warning", job=event.video, type=event.type, accepted=taken)

    def _send(self, client: httpx.Client, event) -> bool:  # type: ignore[no-untyped-def]
        time = datetime.now(UTC)
        body = json.dumps(
            {
                "id": event.id,
                "object": "event",
                "created_at": int(event.created_at),
                "type": event.type,
                "data": {"id": event.video},
            }
        )
        headers = {
            "content-type": "application/json",
            "webhook-id": event.id,
            "webhook-timestamp": str(int(time.timestamp())),
            "webhook-signature": self.signer.sign(event.id, time, body),
        }
        try:
            return client.post(self.address, content=body, headers=headers).is_success
        except (httpx.HTTPError, httpx.InvalidURL):
            return False
