"""Text files of other programs and systems: UTF-8, UTF-16 and UTF-32, with a byte order mark or without, and Windows'
own letters (cp1252, which holds latin-1)."""

import codecs

MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""In the order in which they are looked for: a mark of UTF-32 begins as one of UTF-16 does."""


def decoded(content: bytes) -> str:
    """The text in a file's bytes. Lines that are no UTF-8 are read as cp1252, the others stay as they are."""
    for mark, encoding in MARKS.items():
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, errors="replace")
    if content[1:2] == b"\0" or content[:1] == b"\0":  # letters of UTF-16 without a mark: each second byte is zero
        return content.decode("utf-16-le" if content[1:2] == b"\0" else "utf-16-be", errors="replace")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "\n".join(_line(line) for line in content.split(b"\n"))


def _line(line: bytes) -> str:
    for encoding in ("utf-8", "cp1252"):
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            continue
    return line.decode("latin-1")
