"""FLOPs, memory and communication of one device, read from the text of a compiled program.

The compiler partitions a program over a mesh; the text that it returns is the program of one device, with that device's
shapes. Loops count as often as they run, of a conditional's branches the most expensive one counts. FLOPs are those of
matrix products (2 m n k) and convolutions, wherever the compiler puts them: TPUs turn products into convolutions, CPUs
into a library's fusions. What hand-written kernels compute (Pallas) is not in the text and does not count.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
VIEWS = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call"}
"""Operations that write no value of their own."""
INSTRUCTION = re.compile(r"\s*(ROOT )?%?([\w.-]+) = (.*?)\s([a-z][\w-]*)\((.*)")
CALLED = re.compile(r"(?:calls|to_apply|body|condition|\w+_computations?)=(\{[^}]*\}|%?[\w.-]+)")


@dataclass(frozen=True)
class Work:
    """The work of one device in one run of a program."""

    flops: float = 0.0
    largest: int = 0
    """Bytes of the largest value that it writes to memory; parameters and constants are not written."""
    collectives: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Kind -> (times, bytes of results)."""
    int8: float = 0.0
    """The part of `flops` in products of int8 operands."""

    def __add__(self, other: "Work") -> "Work":
        sent = dict(self.collectives)
        for kind, (times, size) in other.collectives.items():
            before = sent.get(kind, (0, 0))
            sent[kind] = (before[0] + times, before[1] + size)
        return Work(self.flops + other.flops, max(self.largest, other.largest), sent, self.int8 + other.int8)

    def __mul__(self, runs: int) -> "Work":
        sent = {kind: (runs * times, runs * size) for kind, (times, size) in self.collectives.items() if runs}
        return Work(runs * self.flops, self.largest, sent, runs * self.int8)


class Instruction(NamedTuple):
    root: bool
    shapes: list[tuple[str, tuple[int, ...]]]
    """(type, sizes) of its result, or of each part where that is a tuple."""
    opcode: str
    operands: list[str]
    text: str
    """Operands and attributes."""

    def attribute(self, pattern: str) -> str:
        found = re.search(pattern, self.text)
        return found[1] if found else ""

    @property
    def constant(self) -> int:
        """Its value; raises ValueError where it is no constant."""
        return int(self.text.partition(")")[0])

    @property
    def bytes(self) -> list[int]:
        return [_bits(kind) * math.prod(shape) // 8 for kind, shape in self.shapes]


Computation = dict[str, Instruction]


def work_of(compiled: Any) -> Work:
    """The work of one device in a `jax.stages.Compiled`. Raises ValueError where the program does not say it."""
    work = read(compiled.as_text())
    if math.isnan(work.flops):
        raise ValueError("the program calls a GPU library, whose FLOPs it does not say: compile for CPU or TPU")
    return work


def read(text: str) -> Work:
    """The work in the text of a compiled program; FLOPs are NaN where a library hides them. Raises ValueError."""
    computations, entry = _parse(text)
    return _work(entry, computations, stored=True)


def _work(name: str, computations: dict[str, Computation], stored: bool) -> Work:
    """`stored`: values are written to memory; inside a fusion they are not, but for a CPU library's, which may."""
    computation, total = computations[name], Work()
    started = {o for i in computation.values() if '"AsyncCollectiveStart"' in i.text for o in i.operands}
    for label, one in computation.items():
        written = stored and one.opcode not in VIEWS and not one.opcode.endswith("-start")
        flops = _flops(one, computation)
        in_int8 = flops > 0 and all(computation[name].shapes[0][0] == "s8" for name in one.operands[:2])
        total += Work(flops, max(one.bytes, default=0) if written else 0, int8=flops if in_int8 else 0.0)
        kind = one.opcode.removesuffix("-done")
        # TPUs repeat a collective in each fusion that it runs beside; the first of this chain starts it.
        if kind in COLLECTIVES and ("chain_id=" not in one.text or label in started):
            total += Work(collectives={kind: (1, sum(one.bytes))})
        if one.opcode in ("async-update", "async-done"):  # its computation counts where it starts
            continue
        inside = stored and (one.opcode != "fusion" or bool(re.search(r'"kind":"__(ynn|onednn)_fusion"', one.text)))
        called = [
            _work(found, computations, inside)
            for group in CALLED.findall(one.text)
            for found in re.findall(r"[\w.-]+", group)
        ]
        inner = sum(called, Work())
        if one.opcode == "while" and (inner.flops or inner.collectives):
            inner *= _trips(label, computation, computations)
        elif one.opcode == "conditional":
            costly = max(called, key=lambda work: (work.flops, sum(size for _, size in work.collectives.values())))
            inner = Work(costly.flops, inner.largest, costly.collectives, costly.int8)
        total += inner
    return total


def _flops(one: Instruction, computation: Computation) -> float:
    target = one.attribute(r'custom_call_target="__(?:cublas|cudnn|onednn)\$([^"]*)"')
    if one.opcode not in ("dot", "convolution") and not re.search("matmul|gemm", target):
        return math.nan if target else 0.0
    left, right = (computation[name].shapes[0][1] for name in one.operands[:2])
    size = math.prod(one.shapes[0][1])
    if contracted := one.attribute(r'lhs_contracting_dim(?:ension)?s"?[=:][{[]([\d,"]*)'):
        return 2.0 * size * math.prod(left[int(axis)] for axis in re.findall(r"\d+", contracted))
    if one.opcode == "dot":
        return 2.0 * size
    if one.opcode == "convolution":
        kernel = one.attribute(r"dim_labels=\w+_(\w+)->")
        return 2.0 * size * _taps(one, left) * right[kernel.index("i")]
    batch = math.prod(right[:-2])  # a library's product: |left| |right| = |result| * batch * contracted**2
    return 2.0 * size * math.sqrt(math.prod(left) * math.prod(right) / (size * batch))


def _taps(convolution: Instruction, image: tuple[int, ...]) -> float:
    """How many positions of the kernel one output takes. Padding counts, but zeros between values do not. TPUs write
    products of a batch as windows that meet one value and else zeros: those count one."""
    window = dict(re.findall(r"(\w+)=([^\s}]+)", convolution.attribute(r"window=\{([^}]*)\}")))
    inputs, outputs = (convolution.attribute(rf"dim_labels={side}") for side in (r"(\w+)_", r"\w+->(\w+)"))
    taps = 1.0
    for axis in range(len(window["size"].split("x")) if window else 0):
        size, stride, low, dilated, apart = (
            int(window[key].split("x")[axis].partition("_")[0]) if key in window else absent
            for key, absent in (("size", 1), ("stride", 1), ("pad", 0), ("lhs_dilate", 1), ("rhs_dilate", 1))
        )
        image_size, count = image[inputs.index(str(axis))], convolution.shapes[0][1][outputs.index(str(axis))]
        places = (o * stride + k * apart - low for o in range(count) for k in range(size))
        met = sum(place % dilated == 0 and 0 <= place // dilated < image_size for place in places) / count
        taps *= met if met <= 1 else size / dilated
    return taps


def _trips(label: str, outer: Computation, computations: dict[str, Computation]) -> int:
    """How often a loop runs: as the compiler says, or by its counter's start, step and limit. Raises ValueError."""
    loop = outer[label]
    if known := loop.attribute(r"known_trip_count[^\d]*(\d+)"):
        return int(known)
    try:
        condition, body = (computations[loop.attribute(rf"{part}=%?([\w.-]+)")] for part in ("condition", "body"))
        test = _root(condition)
        counter, limit = (_source(name, condition) for name in test.operands)
        index = counter.attribute(r"index=(\d+)")
        turn = _source(_root(body).operands[int(index)], body)
        before, step = (_source(name, body) for name in turn.operands)
        start = _source(outer[loop.operands[0]].operands[int(index)], outer)
        counts = (test.opcode, turn.opcode, before.attribute(r"index=(\d+)")) == ("compare", "add", index)
        if not counts or "direction=LT" not in test.text or step.constant < 1:
            raise ValueError("no counter")
        return max(0, -(-(limit.constant - start.constant) // step.constant))
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(
            f"how often the loop {label} runs is not in the program: use scan, or constant bounds"
        ) from error


def _source(name: str, scope: Computation) -> Instruction:
    """The value that a value is a copy of."""
    one = scope[name]
    return _source(one.operands[0], scope) if one.opcode in ("copy", "bitcast", "convert") else one


def _root(computation: Computation) -> Instruction:
    return next(one for one in computation.values() if one.root)


def _parse(text: str) -> tuple[dict[str, Computation], str]:
    """The computations of an HLO module, and the name of its entry."""
    computations: dict[str, Computation] = {}
    entry = current = ""
    for line in text.splitlines():
        if head := re.match(r"(ENTRY )?%?([\w.-]+) \(.*\{\s*$", line):
            current = head[2]
            computations[current] = {}
            entry = current if head[1] else entry
        elif current and (found := INSTRUCTION.match(line)):
            root, name, result, opcode, rest = found.groups()
            parts = re.findall(r"(\w+)\[([\d,<=]*)\]", result)
            shapes = [(kind, tuple(int(n) for n in re.findall(r"\d+", sizes))) for kind, sizes in parts]
            operands = re.findall(r"%([\w.-]+)", rest.partition("), ")[0])
            computations[current][name] = Instruction(bool(root), shapes, opcode, operands, rest)
    return computations, entry


def _bits(kind: str) -> int:
    """Bits of a value of one type: `bf16` has 16, `s4` 4, `f8e4m3fn` 8; a token has none."""
    found = re.match(r"[a-z]+(\d+)", kind)
    return 8 if kind == "pred" else int(found[1]) if found else 0
