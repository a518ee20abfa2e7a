"""The work of one device adds up: split over eight it is an eighth, a loop's body counts as often as it runs, and on
one device it is what the traced function says."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from sorajax.devices.partitioned import read, work_of
from sorajax.devices.sharding import make_mesh
from sorajax.models.attention import attend
from sorajax.models.dit import DiT
from sorajax.models.sora import init_dit
from sorajax.training.flops import forward_flops
from tests.conftest import TINY

A, B = jax.ShapeDtypeStruct((256, 64), jnp.float32), jax.ShapeDtypeStruct((64, 96), jnp.float32)
PRODUCT = 2 * 256 * 64 * 96
SQUARE, STACK = jax.ShapeDtypeStruct((32, 32), jnp.float32), jax.ShapeDtypeStruct((5, 32, 32), jnp.float32)
CUBE = 2 * 32**3


def compiled(function, *arguments, mesh=None, specs=None):
    """Of abstract arrays, on one device or spread by `specs` over a mesh."""
    if mesh is None:
        return jax.jit(function).lower(*arguments).compile()
    places = [NamedSharding(mesh, spec) for spec in specs]
    with jax.set_mesh(mesh):
        return jax.jit(function, in_shardings=places).lower(*arguments).compile()


def layers(x, stack):
    return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, stack)[0]


@pytest.mark.parametrize(
    ("specs", "share", "sent"),
    [
        ((P("fsdp"), P()), 8, {}),
        ((P(), P(None, "fsdp")), 8, {}),
        ((P(None, "fsdp"), P("fsdp")), 8, {"all-reduce": (1, 256 * 96 * 4)}),
        ((P(), P()), 1, {}),
    ],
    ids=["rows", "columns", "contracted", "replicated"],
)
def test_a_matrix_product_over_eight_devices_costs_an_eighth_each(specs, share, sent):
    work = work_of(compiled(jnp.matmul, A, B, mesh=make_mesh("fsdp=8"), specs=specs))
    assert work.flops == PRODUCT / share
    assert work.collectives == sent


def test_products_of_int8_operands_are_counted_apart():
    text = """
ENTRY %main (a: s8[256,64], b: s8[64,96], c: s8[96,96]) -> f32[256,96] {
  %a = s8[256,64]{1,0} parameter(0)
  %b = s8[64,96]{1,0} parameter(1)
  %c = f32[96,96]{1,0} parameter(2)
  %dot = s32[256,96]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %wide = f32[256,96]{1,0} convert(%dot)
  ROOT %last = f32[256,96]{1,0} dot(%wide, %c), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""
    work = read(text)
    assert (work.int8, work.flops) == (PRODUCT, PRODUCT + 2 * 256 * 96 * 96)
    assert ((work + work) * 3).int8 == 6 * PRODUCT


def test_the_largest_value_is_counted_per_device_and_without_parameters():
    def narrow(a, b):
        return jnp.tanh(a @ b) @ b.T

    assert work_of(compiled(narrow, A, B)).largest == 256 * 96 * 4
    spread = compiled(narrow, A, B, mesh=make_mesh("fsdp=8"), specs=(P("fsdp"), P()))
    assert work_of(spread).largest == 256 * 96 * 4 // 8
    wide = jax.ShapeDtypeStruct((4096, 64), jnp.float32)
    assert work_of(compiled(lambda x, y: x[:8] @ y, wide, B)).largest < 4096 * 64 * 4 // 8


def test_a_loops_body_counts_once_per_iteration():
    def nested(x, stack):
        return jax.lax.scan(lambda x, _: (layers(x, stack), None), x, None, length=3)[0]

    assert work_of(compiled(layers, SQUARE, STACK)).flops == 5 * CUBE
    assert work_of(compiled(nested, SQUARE, STACK)).flops == 15 * CUBE
    assert work_of(compiled(partial(jax.lax.fori_loop, 2, 6, lambda _, x: jnp.sin(x @ x)), SQUARE)).flops == 4 * CUBE


def test_a_loop_of_unknown_length_is_not_counted():
    def settle(x):
        return jax.lax.while_loop(lambda x: jnp.sum(x) < 3, lambda x: x @ x, x)

    with pytest.raises(ValueError, match=r"how often the loop while.* runs is not in the program"):
        work_of(compiled(settle, SQUARE))
    halve = compiled(lambda x: jax.lax.while_loop(lambda x: jnp.sum(x) > 3, lambda x: x / 2, x), SQUARE)
    assert work_of(halve).flops == 0  # a loop without products may run as often as it likes


def test_the_most_expensive_branch_counts():
    branches = [lambda x: x, lambda x: x @ x @ x, lambda x: x @ x]
    work = work_of(compiled(lambda i, x: jax.lax.switch(i, branches, x), jax.ShapeDtypeStruct((), jnp.int32), SQUARE))
    assert work.flops == 2 * CUBE


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_convolutions_flops_are_counted(groups):
    x, kernel = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 8, 8, 4), (3, 3, 4 // groups, 8)))

    def convolve(x, kernel, stride=1):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (stride,) * 2, "SAME", None, None, numbers, groups)

    one = 2 * (2 * 8 * 8 * 8) * 9 * 4 // groups
    assert work_of(compiled(convolve, x, kernel)).flops == one == forward_flops(convolve, x, kernel)
    if groups == 1:  # a strided one's gradients dilate their inputs, whose zeros cost nothing

        def loss(x, kernel):
            return jnp.sum(convolve(x, kernel, 2) ** 2)

        assert work_of(compiled(jax.grad(loss, (0, 1)), x, kernel)).flops == 3 * one / 4


@pytest.mark.parametrize(("tokens", "heads"), [(64, 8), (64, 2), (1024, 8)])
def test_attention_flops_are_counted_on_one_device_and_on_a_mesh(tokens, heads):
    """Where heads run out, keys go round in a ring: as many products, more messages."""
    q = jax.ShapeDtypeStruct((1, tokens, heads, 16), jnp.float32)
    products = 2 * 2 * heads * 16 * tokens**2
    plain = work_of(compiled(lambda q, k, v: attend(q, k, v), q, q, q))
    assert plain.flops == products
    assert plain.largest >= heads * tokens**2 * 4 / 8  # scores, in blocks of queries where they are long
    attention = partial(attend, spread=True)
    work = work_of(compiled(attention, q, q, q, mesh=make_mesh("seq=8"), specs=(P(None, "seq"),) * 3))
    assert work.flops == products / 8
    assert work.largest < plain.largest
    swaps, mine = 4, tokens * heads * 16 * 4 // 8
    assert work.collectives["all-to-all"] == (swaps, swaps * mine)
    assert ("collective-permute" in work.collectives) == (heads < 8)


def test_a_compiled_transformers_flops_equal_its_functions():
    params = jax.eval_shape(partial(init_dit, TINY.dit), jax.random.key(0))
    x, time, text = (
        jax.ShapeDtypeStruct(shape, jnp.float32)
        for shape in ((2, 2, 8, 8, TINY.dit.in_channels), (2, 2), (2, 12, TINY.dit.text_width))
    )

    def forward(params, x, time, text):
        return DiT(TINY.dit).apply({"params": params}, x, time, text)

    counted = forward_flops(forward, params, x, time, text)
    assert work_of(compiled(forward, params, x, time, text)).flops == pytest.approx(counted, rel=0.02)


def test_collectives_in_a_loop_count_once_per_iteration():
    mesh = make_mesh("fsdp=8")

    def repeated(x):
        def turn(x, _):
            total = jax.shard_map(lambda x: jax.lax.psum(x, "fsdp"), mesh=mesh, in_specs=P("fsdp"), out_specs=P())(x)
            return x + jnp.tile(total, 8), None

        return jax.lax.scan(turn, x, None, length=5)[0]

    x = jax.ShapeDtypeStruct((8 * 1000,), jnp.float32)
    work = work_of(compiled(repeated, x, mesh=mesh, specs=(P("fsdp"),)))
    assert work.collectives["all-reduce"] == (5, 5 * 4000)


TPU = """HloModule jit_step

%start (p.1: bf16[8,128]) -> (bf16[8,128], u32[]) {
  %p.1 = bf16[8,128]{1,0:T(8,128)(2,1)} parameter(0)
  %ag.1 = bf16[64,128]{1,0:T(8,128)(2,1)} all-gather(%p.1), channel_id=4, frontend_attributes={chain_id="0"}
  ROOT %s = (bf16[64,128]{1,0}, u32[]{:S(2)}) custom-call(%ag.1), custom_call_target="AsyncCollectiveStart"
}

%done (p.2: bf16[8,128], p.3: bf16[64,128]) -> bf16[64,128] {
  %p.2 = bf16[8,128]{1,0:T(8,128)(2,1)} parameter(0)
  %p.3 = bf16[64,128]{1,0:T(8,128)(2,1)} parameter(1)
  %ag.2 = bf16[64,128]{1,0:T(8,128)(2,1)} all-gather(%p.2), channel_id=4, frontend_attributes={chain_id="0"}
  ROOT %d = bf16[64,128]{1,0} custom-call(%p.2, %p.3, %ag.2), custom_call_target="AsyncCollectiveDone"
}

%product (p.4: bf16[4,256,512], p.5: bf16[4,512,384]) -> bf16[4,256,384] {
  %p.4 = bf16[4,256,512]{2,1,0} parameter(0)
  %p.5 = bf16[4,512,384]{2,1,0} parameter(1)
  ROOT %c = bf16[4,256,384] convolution(%p.4, %p.5), window={size=4 stride=3 lhs_dilate=4}, dim_labels=0bf_0io->0bf
}

%condition (p.6: (s32[], s4[64])) -> pred[] {
  %limit = s32[]{:T(128)} constant(6)
  %p.6 = (s32[]{:T(128)}, s4[64]{0}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%p.6), index=0
  ROOT %less = pred[]{:T(512)} compare(%i.1, %limit), direction=LT
}

%body (p.7: (s32[], s4[64])) -> (s32[], s4[64]) {
  %step = s32[]{:T(128)} constant(2)
  %p.7 = (s32[]{:T(128)}, s4[64]{0}) parameter(0)
  %i.2 = s32[]{:T(128)} get-tuple-element(%p.7), index=0
  %copy = s32[]{:T(128)S(6)} copy(%i.2)
  %add = s32[]{:T(128)} add(%copy, %step)
  %x = s4[64]{0} get-tuple-element(%p.7), index=1
  %aa.1 = s4[64]{0} all-to-all(%x), channel_id=1
  %aa.2 = s4[64]{0} all-to-all(%aa.1), channel_id=1
  ROOT %t = (s32[]{:T(128)}, s4[64]{0}) tuple(%add, %aa.2)
}

ENTRY %main (a: bf16[8,128], b: bf16[4,256,512], c: bf16[4,512,384], e: s4[64]) -> bf16[64,128] {
  %a = bf16[8,128]{1,0} parameter(0)
  %b = bf16[4,256,512]{2,1,0} parameter(1)
  %c.1 = bf16[4,512,384]{2,1,0} parameter(2)
  %e = s4[64]{0} parameter(3)
  %one = s32[]{:T(128)} constant(1)
  %f.1 = (bf16[64,128]{1,0}, u32[]{:S(2)}) fusion(%a), kind=kCustom, calls=%start
  %f.2 = bf16[4,256,384]{2,1,0} fusion(%b, %c.1), kind=kOutput, calls=%product
  %g = bf16[64,128]{1,0} get-tuple-element(%f.1), index=0
  %in = (s32[]{:T(128)}, s4[64]{0}) tuple(%one, %e)
  %w = (s32[]{:T(128)}, s4[64]{0}) while(%in), condition=%condition, body=%body
  %ps = (bf16[8,128]{1,0}, bf16[8,128]{1,0}, u32[]{:S(2)}) collective-permute-start(%a), channel_id=1
  %pd = bf16[8,128]{1,0} collective-permute-done(%ps)
  ROOT %f.3 = bf16[64,128]{1,0} fusion(%a, %g), kind=kCustom, calls=%done
}
"""


@pytest.mark.parametrize(
    ("line", "flops"),
    [
        (
            "f32[32,4,64,8] conv(f32[32,4,64,16] f32[32,4,8,16]), window={size=32x4 stride=31x3 lhs_dilate=32x4}, "
            "dim_labels=01bf_01oi->01bf",
            2 * 32 * 4 * 64 * 8 * 16,
        ),
        (
            "f32[32,2,64,8] conv(f32[32,2,64,16] f32[32,2,8,16]), window={size=32x2 stride=32x2 pad=31_31x1_1 "
            "lhs_dilate=31x1 rhs_reversal=1x1}, dim_labels=01bf_01oi->01bf",
            2 * 32 * 2 * 64 * 8 * 16,
        ),
        (
            "f32[32,64,4,8] conv(f32[32,64,16,1] f32[4,8,16,1]), window={size=1x4 pad=0_0x3_3 rhs_reversal=0x1}, "
            "dim_labels=0bf1_1oi0->0b1f",
            2 * 32 * 64 * 4 * 8 * 16,
        ),
        (
            "f32[16,8,1] conv(f32[32,64,16] f32[32,64,8]), window={size=32}, dim_labels=0fb_0io->bf0",
            2 * 16 * 8 * 32 * 64,
        ),
    ],
    ids=["dilated", "reversed", "padded", "summed"],
)
def test_matrix_products_compiled_to_convolutions_are_counted(line, flops):
    """Windows of the product of a batch, as TPUs' compiler writes them: over heads, clips, or both."""
    result, left, right = re.findall(r"f32\[[\d,]*\]", line)
    attributes = line.partition("), ")[2]
    text = f"""ENTRY %main (a: {left}, b: {right}) -> {result} {{
  %a = {left} parameter(0)
  %b = {right} parameter(1)
  ROOT %c = {result} convolution(%a, %b), {attributes}
}}"""
    assert read(text).flops == flops


def test_tpu_programs_are_read():
    """A product of a batch is a dilated convolution, loops carry no count, and a collective is repeated in each fusion
    that it runs beside, while others share a channel and are several."""
    work = read(TPU)
    assert work.flops == 2 * 4 * 256 * 384 * 512
    assert work.largest == 4 * 256 * 384 * 2
    assert work.collectives == {
        "all-gather": (1, 64 * 128 * 2),
        "all-to-all": (3 * 2, 3 * 2 * 32),
        "collective-permute": (1, 8 * 128 * 2),
    }
    with pytest.raises(
        ValueError, match="how often the loop w runs is not in the program: use scan, or constant bounds"
    ):
        read(TPU.replace("direction=LT", "direction=NE"))


@pytest.mark.parametrize(
    ("call", "flops"),
    [
        ('custom-call(%a, %b), custom_call_target="__onednn$matmul"', 2 * 4 * 6 * 10),
        ('custom-call(%a, %b), custom_call_target="__cudnn$convForward"', None),
    ],
)
def test_library_products_are_counted_and_unknown_calls_refused(call, flops):
    class Compiled:
        def as_text(self):
            arguments = "%a = f32[4,6] parameter(0)\n  %b = f32[6,10] parameter(1)"
            return (
                f"ENTRY %m (a: f32[4,6], b: f32[6,10]) -> f32[4,10] {{\n  {arguments}\n  ROOT %c = f32[4,10] {call}\n}}"
            )

    if flops:
        assert work_of(Compiled()).flops == flops
    else:
        with pytest.raises(ValueError, match="calls a GPU library"):
            work_of(Compiled())
