"""Decoding of text files from other systems: UTF-8, UTF-16 and UTF-32, with or without byte order mark, and cp1252, the
Windows encoding that extends latin-1."""

import codecs

MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""Byte order marks in search order: the mark of UTF-32-LE begins with that of UTF-16-LE."""


def decode_text(content: bytes) -> str:
    """The text in the bytes of a file. Lines that are not valid UTF-8 are read as cp1252, the others as UTF-8."""
    for mark, encoding in MARKS.items():
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, errors="replace")
    if content[1:2] == b"\0" or content[:1] == b"\0":  # UTF-16 without a mark: every other byte is zero
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
