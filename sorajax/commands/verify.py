"""Says where a picture or video came from, and whether it was changed since.

    python -m sorajax.verify clip.mp4
    python -m sorajax.verify clip.mp4 --json
    python -m sorajax.verify clip.mp4 --trust anchors.pem      PEM certificates of signers that you trust

Exit codes: 0 the file is as it was signed (a self-made certificate counts), or its manifest is gone and its watermark
is read, 1 no mark was found, 2 the file was changed after signing, or an option is wrong, 3 the file cannot be read.
The key of the watermark is `watermark_key` in `policy.toml`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from sorajax.commands.failures import complain
from sorajax.commands.parsing import parse_options
from sorajax.errors import BadRequest, one_line

WRONG, UNREADABLE = 2, 3


@dataclass(frozen=True)
class VerifyOptions:
    file: tyro.conf.Positional[Path]
    """A picture or video."""
    trust: Path | None = None
    """A PEM file with certificates of signers that are trusted."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the result as JSON."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    try:
        options = parse_options(VerifyOptions, "python -m sorajax.verify", argv, __doc__)
    except SystemExit as exit:  # tyro has shown the help
        return exit.code if isinstance(exit.code, int) else 1
    except BadRequest as error:
        return complain(error, 2)
    return verify(options)


def verify(options: VerifyOptions) -> int:
    """Prints the report on a file, and returns the exit code."""
    from sorajax.safety import detector, provenance
    from sorajax.safety.policy import read_policy

    try:
        if not provenance.available():
            return complain("verifying needs c2pa-python: pip install c2pa-python", UNREADABLE)
        anchors = options.trust.expanduser().read_bytes() if options.trust else b""
    except OSError as error:
        return complain(f"--trust {options.trust} cannot be read ({one_line(error)}): name a PEM file", UNREADABLE)
    try:
        report = detector.inspect(options.file, anchors, read_policy().watermark_key)
    except BadRequest as error:
        return complain(error, WRONG)
    print(json.dumps(report.as_json(), indent=2) if options.json else "\n".join(report.words))
    return report.state.exit_code
