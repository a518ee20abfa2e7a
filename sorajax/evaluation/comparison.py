"""Compares our parts with the reference implementations, and prints each: see `evaluation.reference` and
`evaluation.opening`."""

from collections.abc import Sequence
from typing import Any

from sorajax.evaluation import markdown, opening, reference
from sorajax.evaluation.benchmark_options import Benchmark
from sorajax.evaluation.markdown import RANDOM_WEIGHTS, Measured

OPENING = "opening"


def measure(options: Benchmark) -> Measured:
    """Compares the parts of the options."""
    found = comparison(options.part, options.repeats, options.eager)
    versions = ", ".join(f"{name} {value}" for name, value in found["reference"]["versions"].items())
    settings = f"medians of {options.repeats} calls, {found['reference']['threads']} threads, {versions}"
    return Measured(found, {options.tables[0]: table(found["reference"])}, settings, RANDOM_WEIGHTS)


def comparison(parts: Sequence[str], repeats: int, eager: bool) -> dict[str, Any]:
    """Times of ours and of the reference, part by part, as JSON values."""
    found = reference.conditions()
    libraries = ", ".join(f"{name} {value}" for name, value in found["versions"].items())
    print(f"{libraries}, {found['threads']} thread(s); medians of {repeats} calls each, in turns, milliseconds")
    print(f"{'':24}{'ours':>9}{'eager':>9}{'compiled':>9}{'ratio':>8}{'difference':>12}", flush=True)
    for part in dict.fromkeys(parts):
        if part == OPENING:
            found[part] = openings(repeats)
            continue
        shape, calls = reference.PARTS[part]()
        print(f"{part}: {shape}", flush=True)
        found[part] = {"shape": shape}
        for name, call in calls.items():
            one = found[part][name] = reference.compare(f"{part} {name}", call, repeats, eager)
            times = "".join(f"{one[way] * 1e3:9.1f}" if one[way] else f"{'-':>9}" for way in reference.WAYS)
            label = f"  {name.replace('_', ' + ')}"
            print(f"{label:24}{times}{one['ratio']:7.2f}x{one['difference']:12.1e}  {one['failure'] or ''}", flush=True)
    return {"reference": found}


def openings(repeats: int) -> dict[str, Any]:
    """Seconds to open a transformer of full width with 8 blocks."""
    found = opening.opening(repeats, depth=8)
    print(
        f"{OPENING}: {opening.MODEL}, 8 of 30 blocks, {found['bytes'] / 1e9:.2f} GB in {opening.DTYPE}, "
        "from float32 shards"
    )
    times = ", ".join(f"{way} {found[way] * 1e3:,.0f}" for way in opening.WAYS)
    print(f"  {times}: converted {found['ours'] / found['converted']:.2f}x as fast as the shards", flush=True)
    return found


def table(found: dict[str, Any]) -> str:
    """A table for a page: milliseconds of each part, and of opening."""
    rows = [
        [
            f"{one['shape']}: {name.replace('_', ' + ')}",
            *(f"{times[way] * 1e3:.1f}" if times[way] else "-" for way in reference.WAYS),
            f"{times['ratio']:.2f}x",
        ]
        for part, one in found.items()
        if part in reference.PARTS
        for name, times in one.items()
        if name != "shape"
    ]
    if seconds := found.get(OPENING):
        theirs = seconds["reference"]
        for name, ours in (("opening", seconds["ours"]), ("opening what is converted", seconds["converted"])):
            label = f"{opening.MODEL}, 8 of 30 blocks: {name}"
            rows.append([label, f"{ours * 1e3:,.0f}", f"{theirs * 1e3:,.0f}", "-", f"{theirs / ours:.2f}x"])
    return markdown.table(["part, milliseconds", "ours", "eager", "torch.compile", "faster reference / ours"], rows)
