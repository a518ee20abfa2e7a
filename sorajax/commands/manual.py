"""The text of `python -m sorajax.sample --help` before the options."""

from sorajax.tasks.table import TASKS

OTHERS = {
    "four clips, longer and wider, with seeds 0 to 3": '"a blue star moves left" --seconds 4 --size 96x64 --num 4',
    "an animated picture for a web page": '"a green ring spins" --out ring.webp',
    "a still image": '"a green ring on navy" --frames 1 --out ring.png',
    "a grid of twelve clips, four per row": '"a red ball bounces" --num 12 --grid 4 --out balls.webp',
    "a file of prompts, a folder of clips, your own model": "--prompts-file prompts.txt --out clips/ --model runs/mine",
    "open weights": '"a cat surfs at sunset" --model Wan-AI/Wan2.1-T2V-1.3B-Diffusers',
    "an adapter; several add up": '"a red ball bounces" --lora runs/world_lora/model/lora.safetensors:0.8',
    "an edit only where a mask is white": '"a blue star" --edit clip.mp4 --strength 0.9 --mask mask.png',
    "faster and rougher": '"a white box falls" --steps 4',
    "slower and closer to the prompt": '"a white box falls" --steps 50 --guidance-scale 6',
}
"""Examples besides those of the tasks."""


def example(what: str, words: str) -> str:
    """Two lines: a description, and the command."""
    return f"{what[0].upper()}{what[1:]}:\n    python -m sorajax.sample {words}"


DESCRIPTION = """Turns text into videos.

A clip from the model that comes with sorajax; the path of the mp4 is printed:
    python -m sorajax.sample "a red ball bounces on a grey floor"

{tasks}

{others}

Prompt, seed and settings are stored in each file and in a .json beside it; the same
settings make the same video again. The first run compiles, which takes longer.
Exit codes: 0 done, 1 a file or model failed, 2 the request is invalid, 130 interrupted.
""".format(
    tasks="\n\n".join(example(task.summary, task.example) for task in TASKS.values()),
    others="\n\n".join(example(what, words) for what, words in OTHERS.items()),
)
