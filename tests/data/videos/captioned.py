"""Makes the clips of configs/world_captions.py:

    python -m tests.data.videos.captioned videos/captions 6000

Clips of the world with one object each, and two manifests of them: `true.jsonl` has a true short and a true detailed
caption of each clip, `lost.jsonl` one that lost half of the attributes.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from sorajax.data.records import encode_frames
from sorajax.data.worlds import parts_of
from sorajax.world.captions import CANONICAL, VERBS, WORDS, captions, with_article
from sorajax.world.draw import draw
from sorajax.world.scenes import CORE, attributes, sample_scenes

SHAPE, FPS = (17, 64, 64), 8.0
BATCH = 16
NAMES = ("size", "colour", "shape", "motion", "pace", "background")


def lost(words: Mapping, rng: np.random.Generator) -> str:
    """A caption of a clip of one object that says half of its attributes, in the words of the other captions."""
    thing = {**words["shots"][0]["objects"][0], "background": words["shots"][0]["background"]}
    stated = [name for name in NAMES if thing[name] != "normally"]
    count = len(stated) // 2 + int(len(stated) % 2 * rng.random() * 2)
    kept = set(rng.permutation(stated)[:count])

    def pick(texts: tuple) -> str:
        return texts[0] if len(texts) == 1 or rng.random() < CANONICAL else texts[1 + rng.integers(len(texts) - 1)]

    said = {name: pick(WORDS[thing[name]]) for name in kept if name != "motion"}
    noun = " ".join([*(said[name] for name in ("size", "colour") if name in said), said.get("shape", "thing")])
    verb = [pick(VERBS[thing["motion"]])[0]] if "motion" in kept else []
    place = [f"on {with_article(said['background'])} floor"] if "background" in said else []
    return " ".join([with_article(noun), *verb, *([said["pace"]] if "pace" in said else []), *place])


def main(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    render = jax.jit(lambda scene: draw(scene, *SHAPE, fps=FPS, needs=parts_of(CORE))[0])
    rows: dict[str, list[dict[str, str]]] = {"true": [], "lost": []}
    for start in range(0, count, BATCH):
        scenes = sample_scenes(rng, BATCH, "train", CORE)
        clips = np.clip(np.round((np.asarray(render(scenes)) + 1) * 127.5), 0, 255).astype(np.uint8)
        short, detailed = (captions(scenes, rng, register) for register in ("short", "detailed"))
        for i, words in enumerate(attributes(scenes)[: count - start]):
            path = f"{start + i:05d}.mkv"
            (folder / path).write_bytes(encode_frames(clips[i]))
            rows["true"].append({"path": path, "short": short[i], "detailed": detailed[i]})
            rows["lost"].append({"path": path, "short": (text := lost(words, rng)), "detailed": text})
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
