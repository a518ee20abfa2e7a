"""Users' files: uploaded, found by a reference, and stored by content after a check that they decode."""

import base64
import binascii
import io
import threading
from pathlib import PurePath
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from sqlalchemy import Engine, Table, delete, insert, select

from sorajax.errors import BadRequest
from sorajax.server.content import Content
from sorajax.server.database import CHARACTERS, FILES, as_dict, now
from sorajax.server.decoding import Found, Limits, check_file, suffix_of
from sorajax.server.failures import ApiError, invalid, missing
from sorajax.server.fields import Reference
from sorajax.server.jobs import Jobs, Source, new_id

DECODED_TOGETHER = 2  # processes
FETCH_SECONDS = 20.0


class Uploads:
    """The users' files in a database and a content store."""

    def __init__(self, engine: Engine, content: Content, jobs: Jobs, limits: Limits, url_hosts: frozenset[str]):
        """url_hosts: hosts from which an image_url is fetched."""
        self.engine, self.content, self.jobs, self.limits, self.url_hosts = engine, content, jobs, limits, url_hosts
        self.decoding = threading.Semaphore(DECODED_TOGETHER)

    def store(self, file: BinaryIO, param: str) -> tuple[str, Found, int]:
        """Stores a file that can be decoded: its name, what is in it, and its bytes. Raises ApiError."""
        try:
            file.seek(0)
            suffix = suffix_of(file.read(16))
            file.seek(0)
            name = self.content.put(file, suffix, self.limits.bytes)
            path = self.content.path(name)
            with self.decoding:
                return name, check_file(path, self.limits), path.stat().st_size
        except BadRequest as error:
            raise invalid(str(error), param, "invalid_file") from error

    def find(self, reference: Reference, owner: str, param: str) -> Source:
        """The picture or clip of a reference. Raises ApiError, which names the field."""
        given = [name for name in ("file_id", "id", "image_url", "upload") if getattr(reference, name) is not None]
        if len(given) != 1:
            raise invalid(f"{param} needs one of file_id, id, image_url and an uploaded file", param, "missing_field")
        if reference.file_id is not None:
            row = self.get(FILES, reference.file_id, owner, "file", param)
            return Source(row["content"], False, row["seconds"])
        if reference.id is not None:
            return self.video(reference.id, owner, param)
        if reference.upload is not None:
            name, found, _ = self.store(reference.upload.file, param)
        else:
            name, found, _ = self.store(io.BytesIO(self.fetch(reference.image_url or "", param)), param)
        return Source(name, False, found.seconds)

    def video(self, name: str, owner: str, param: str) -> Source:
        """A finished video of this server. Raises ApiError."""
        try:
            row = self.jobs.get(name, owner)
        except ApiError as error:
            raise missing("video", name, param) from error
        if row["status"] != "completed":
            raise invalid(f"the video {name} is {row['status']}: wait until it is completed", param, "not_completed")
        if row["file"] is None:
            raise ApiError(404, f"the video {name} has expired", param, "expired")
        return Source(row["file"], True, row["seconds"], name)

    def fetch(self, address: str, param: str) -> bytes:
        """The bytes of a data URL, or of an address whose host the operator allows. Raises ApiError."""
        if address.startswith("data:"):
            head, comma, data = address.partition(",")
            if not comma or not head.endswith(";base64"):
                raise invalid("the data URL is not data:TYPE;base64,DATA", param)
            try:
                return base64.b64decode(data, validate=True)
            except (binascii.Error, ValueError) as error:
                raise invalid(f"the data URL is not base64 ({error})", param) from error
        try:
            parts = urlsplit(address)
            host = parts.hostname
        except ValueError:
            host = None
        if host is None or parts.scheme != "https" or host not in self.url_hosts:
            message = "addresses are not fetched here: upload the file, or give a data URL, data:image/png;base64,..."
            raise invalid(message, param, "address_not_allowed")
        return self._download(address, param)

    def _download(self, address: str, param: str) -> bytes:
        """A file from an allowed host; redirects are not followed."""
        import httpx

        found = bytearray()
        try:
            with httpx.stream("GET", address, timeout=FETCH_SECONDS, follow_redirects=False) as answer:
                if answer.status_code != 200:
                    raise invalid(f"the address answered with {answer.status_code}", param)
                for block in answer.iter_bytes():
                    found += block
                    if len(found) > self.limits.bytes:
                        raise invalid(f"the file has more than {self.limits.bytes} bytes: give a smaller one", param)
        except httpx.HTTPError as error:
            raise invalid(f"the address cannot be fetched ({type(error).__name__})", param) from error
        return bytes(found)

    def add_file(self, owner: str, reference: Reference, purpose: str) -> dict[str, Any]:
        """Stores an uploaded file and returns its row. Raises ApiError."""
        if reference.upload is None:
            raise invalid("file is missing: upload it as multipart/form-data", "file", "missing_field")
        content, found, size = self.store(reference.upload.file, "file")
        filename = PurePath((reference.upload.filename or "file").replace("\\", "/")).name[:200] or "file"
        row = {"id": new_id("file"), "owner": owner, "filename": filename, "purpose": purpose, "bytes": size}
        return self._insert(FILES, row | {"content": content, "seconds": found.seconds})

    def add_character(self, owner: str, name: str, source: Source) -> dict[str, Any]:
        """Stores a character and returns its row."""
        row = {"id": new_id("char"), "owner": owner, "name": name, "content": source.content}
        return self._insert(CHARACTERS, row)

    def character(self, name: str, owner: str, param: str) -> Source:
        """The clip of a character, of which a picture is used. Raises ApiError."""
        row = self.get(CHARACTERS, name, owner, "character", param)
        return Source(row["content"], False, 0.0)

    def get(self, table: Table, name: str, owner: str, what: str, param: str) -> dict[str, Any]:
        """A row of this owner. Raises ApiError, a 404."""
        with self.engine.connect() as connection:
            row = connection.execute(select(table).where(table.c.id == name, table.c.owner == owner)).first()
        if row is None:
            raise missing(what, name, param)
        return as_dict(row)

    def files(self, owner: str, after: str | None, limit: int, newest_first: bool) -> tuple[list[dict[str, Any]], bool]:
        """Files of an owner after the one named `after`, and whether there are more. Raises ApiError."""
        number = FILES.c.number
        query = select(FILES).where(FILES.c.owner == owner).order_by(number.desc() if newest_first else number)
        if after is not None:
            last = self.get(FILES, after, owner, "file", "after")["number"]
            query = query.where(number < last if newest_first else number > last)
        with self.engine.connect() as connection:
            rows = [as_dict(row) for row in connection.execute(query.limit(limit + 1))]
        return rows[:limit], len(rows) > limit

    def delete_file(self, name: str, owner: str) -> None:
        """Deletes a file; jobs that use it keep its content until they end. Raises ApiError, a 404."""
        with self.engine.begin() as connection:
            if not connection.execute(delete(FILES).where(FILES.c.id == name, FILES.c.owner == owner)).rowcount:
                raise missing("file", name, "file_id")

    def _insert(self, table: Table, row: dict[str, Any]) -> dict[str, Any]:
        row["created_at"] = now()
        with self.engine.begin() as connection:
            connection.execute(insert(table).values(row))
        return row
