"""From options to a request."""

import sys
from pathlib import Path

from sorajax.commands.arguments import Arguments
from sorajax.commands.failures import attempt
from sorajax.errors import BadRequest
from sorajax.files import as_path
from sorajax.sampling.request import Request, parse_size, read_storyboard, with_style


def as_request(arguments: Arguments) -> Request:
    """The request of the options. Raises BadRequest."""
    width, height = (None, None) if arguments.size is None else parse_size(arguments.size)
    file, board = arguments.prompts_file, arguments.storyboard
    prompts = arguments.prompts + (attempt(lambda: read_prompts(file)) if file else ())
    if board and not board.expanduser().is_file():
        raise BadRequest(f"{board} does not exist: give the path of a storyboard")
    if board:
        prompts = prompts or (attempt(lambda: read_storyboard(board))[0].prompt,)  # for the name of the file
    if arguments.style is not None:
        prompts = tuple(with_style(prompt, arguments.style) for prompt in prompts)
    return Request(
        prompts=prompts,
        negative=arguments.negative,
        num=arguments.num,
        seed=arguments.seed,
        frames=arguments.frames,
        seconds=arguments.seconds,
        width=width,
        height=height,
        fps=arguments.fps,
        steps=arguments.steps,
        guidance_scale=arguments.guidance_scale,
        guidance_scale_low=arguments.guidance_scale_low,
        guidance_interval=arguments.guidance_interval,
        cache=arguments.cache,
        cache_threshold=arguments.cache_threshold,
        temperature=arguments.temperature,
        sampler=arguments.sampler,
        shift=arguments.shift,
    )


def read_prompts(path: Path) -> tuple[str, ...]:
    """Reads one prompt per line. Raises BadRequest if the file cannot be read or has no prompt."""
    try:
        text = sys.stdin.read() if str(path) == "-" else as_path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(f"{path} is not UTF-8 ({error}): save it as UTF-8") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadRequest(f"{as_path(path)} cannot be read ({reason}): give a text file of prompts") from error
    lines = (line.strip() for line in text.splitlines())
    prompts = tuple(line for line in lines if line and not line.startswith("#"))
    if not prompts:
        raise BadRequest(f"{path} has no prompt: write one per line")
    return prompts
