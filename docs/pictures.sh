#!/usr/bin/env bash
# Makes the pictures of README and docs: docs/pictures.sh [MODEL]. What is given comes first, then what is asked about it.
set -euo pipefail
cd "$(dirname "$0")"
model=${1:-world}

ask() { python -m sorajax.sample "$@" --model "$model" --overwrite; }

ask --prompts-file prompts.txt --grid 4 --out samples.webp
cd tasks
bouncing="a red ball bounces on a grey floor"
ask "a red ball on a grey floor" --frames 1 --out still.png
ask "$bouncing" --out clip.webp
ask "a blue ball moves right on a grey floor" --out other.webp

ask "$bouncing" --image still.png --out animate.webp
ask "$bouncing" --extend clip.webp --trim 0:1 --seconds 2 --out extend.webp
ask "$bouncing" --extend clip.webp --trim 0.5:1.5 --direction both --seconds 1 --out both.webp
ask "a red ball falls on a grey floor" --between still.png clip.webp --out between.webp
ask "a ball moves right on a grey floor" --connect clip.webp other.webp --seconds 1 --out connect.webp
ask "$bouncing" --fill clip.webp --gap 0.8:1.4 --out fill.webp
ask "a ball on a grey floor" --blend clip.webp other.webp --out blend.webp
ask "a green box spins on black" --loop --out loop.webp
ask "a blue ball bounces on a grey floor" --edit clip.webp --out edit.webp
ask "a yellow ball bounces on a grey floor" --edit clip.webp --strength 0.9 --mask mask.png --out region.webp
ask --storyboard board.json --out story.webp
ask "a red ball moves left on grey. Cut to: the same red ball bounces on navy" --out cut.webp
ask "a blue star moves left on a grey floor" --size 96x64 --seconds 4 --out wide.webp
ask "$bouncing" --style neon --out neon.webp
ask "a white ring on a navy floor" --frames 1 --size 96x96 --out image.png
ask "a ball bounces" --negative "a white ball" --out negative.webp
rm ../*.webp.json ./*.webp.json ./*.png.json
