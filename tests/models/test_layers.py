"""Laws of the layers that models share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import ScopeParamShapeError

from sorajax.devices.sharding import make_mesh
from sorajax.models import layers
from sorajax.models.layers import ChannelNorm, Dense, RMSNorm, convolve, matmul, standardize

X = np.random.default_rng(0).normal(1, 3, (2, 3, 16)).astype(np.float32)
NORMS = {
    "rms": jax.jit(lambda x: RMSNorm().apply({"params": {"scale": jnp.ones(x.shape[-1])}}, x)),
    "channel": jax.jit(lambda x: ChannelNorm().apply({"params": {"gamma": jnp.ones(x.shape[-1])}}, x)),
    "standardize": jax.jit(standardize),
}


@pytest.fixture(params=NORMS)
def norm(request):
    return NORMS[request.param]


def test_a_norm_gives_unit_mean_square(norm):
    np.testing.assert_allclose(np.mean(np.square(norm(X)), -1), 1.0, atol=1e-5)


def test_a_norm_is_invariant_to_scale_but_not_to_sign(norm):
    np.testing.assert_allclose(norm(100 * X), norm(X), atol=1e-5)
    np.testing.assert_allclose(norm(-X), -np.asarray(norm(X)), atol=1e-5)


def test_a_norm_treats_each_position_separately(norm):
    np.testing.assert_allclose(np.asarray(norm(X))[1, 2], norm(X[1, 2]), atol=1e-6)


def test_a_norm_of_zeros_is_zero_and_differentiable(norm):
    x = jnp.zeros((1, 8))
    np.testing.assert_array_equal(norm(x), 0.0)
    assert np.isfinite(jax.jit(jax.grad(lambda x: norm(x).sum()))(x)).all()


def test_only_standardize_subtracts_the_mean():
    plain, moved = ({name: np.asarray(norm(x)) for name, norm in NORMS.items()} for x in (X, X + 7))
    np.testing.assert_allclose(moved["standardize"], plain["standardize"], atol=1e-5)
    np.testing.assert_allclose(np.mean(plain["standardize"], -1), 0.0, atol=1e-6)
    for name in ("rms", "channel"):
        assert np.abs(moved[name] - plain[name]).max() > 0.1


def test_norms_of_half_precision_are_computed_in_float32():
    """The sum of squares of large float16 values overflows in float16."""
    x = jnp.full((1, 1024), 100.0, jnp.float16)
    assert NORMS["rms"](x).dtype == NORMS["channel"](x).dtype == jnp.float16
    assert NORMS["standardize"](x).dtype == jnp.float32
    np.testing.assert_allclose(NORMS["rms"](x), 1.0, atol=1e-3)
    np.testing.assert_allclose(NORMS["channel"](x), 1.0, atol=1e-3)


def test_a_norms_learned_scale_multiplies():
    learned = np.arange(16, dtype=np.float32)
    for norm, parameter, plain in ((RMSNorm(), "scale", "rms"), (ChannelNorm(), "gamma", "channel")):
        found = jax.jit(norm.apply)({"params": {parameter: learned}}, X)
        np.testing.assert_allclose(found, np.asarray(NORMS[plain](X)) * learned, atol=1e-5)


CONVOLUTIONS = {
    "space and time": ((3, 3, 3), (1, 1, 1), ((1, 1), (1, 1))),
    "time alone, halved": ((3, 1, 1), (2, 1, 1), ((0, 0), (0, 0))),
    "space alone, halved": ((1, 3, 3), (1, 2, 2), ((0, 1), (0, 1))),
    "time alone": ((3, 1, 1), (1, 1, 1), ((0, 0), (0, 0))),
    "everything halved": ((3, 3, 3), (2, 2, 2), ((1, 0), (0, 1))),
    "pointwise": ((1, 1, 1), (1, 1, 1), ((0, 0), (0, 0))),
    "pointwise, halved": ((1, 1, 1), (2, 2, 2), ((0, 0), (0, 0))),
}


def threefold(x, kernel, stride, padding):
    """The convolution in three dimensions that all formulations stand for."""
    return jax.lax.conv_general_dilated(
        x, kernel, stride, ((0, 0), *padding), dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
    )


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_concatenated_taps_equal_the_3d_convolution(case):
    size, stride, padding = CONVOLUTIONS[case]
    rng = np.random.default_rng(0)
    x, kernel = (rng.standard_normal(shape, np.float32) for shape in ((2, 6, 7, 8, 3), (*size, 3, 5)))

    def run(function):
        def loss(x, kernel):
            y = function(x, kernel, stride, padding)
            return jnp.sum(jnp.sin(y)), y

        gradients, y = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(x, kernel)
        return y, *gradients

    expected = run(threefold)
    for function in (layers.convolve_taps, convolve):
        for a, b in zip(run(function), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_other_platforms_get_the_plain_convolution(case):
    """Only CPU pays for the copy of the taps; elsewhere what is compiled is one convolution, or one product."""
    size, stride, padding = CONVOLUTIONS[case]
    x, kernel = jax.ShapeDtypeStruct((2, 6, 7, 8, 3), jnp.float32), jax.ShapeDtypeStruct((*size, 3, 5), jnp.float32)

    def lowered(function):
        traced = jax.jit(lambda x, kernel: function(x, kernel, stride, padding)).trace(x, kernel)
        text = traced.lower(lowering_platforms=("tpu",)).as_text()
        return text.count("stablehlo.convolution") + text.count("stablehlo.dot_general"), "concatenate" in text

    assert lowered(convolve) == lowered(threefold) == (1, False)


def test_the_kernel_takes_the_input_s_dtype():
    x, kernel = jnp.ones((1, 3, 4, 4, 2), jnp.bfloat16), np.ones((3, 3, 3, 2, 2), np.float32)
    found = jax.jit(convolve)(x, kernel)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, 54.0)  # valid everywhere: 27 taps, 2 channels


def test_a_product_by_rows_equals_the_product_and_its_gradient():
    rng = np.random.default_rng(1)
    x, kernel = (rng.standard_normal(shape, np.float32) for shape in ((2, 3, 5, 8), (8, 4)))

    def gradient(product):
        return jax.jit(jax.grad(lambda x, kernel: jnp.sum(jnp.sin(product(x, kernel))), (0, 1)))(x, kernel)

    np.testing.assert_allclose(jax.jit(matmul)(x, kernel), x @ kernel, rtol=1e-5, atol=1e-6)
    for ours, plain in zip(gradient(matmul), gradient(jnp.matmul), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("devices", "axes"), [(1, 2), (8, 3)])
def test_rows_are_merged_on_one_device_only(devices, axes):
    with jax.set_mesh(make_mesh("", jax.devices()[:devices])):
        traced = jax.make_jaxpr(matmul)(X, jnp.ones((16, 4)))
    (product,) = (equation for equation in traced.eqns if equation.primitive.name == "dot_general")
    assert product.invars[0].aval.ndim == axes


def test_existing_parameters_are_used_without_a_trace_of_their_initialiser():
    def once(*_):
        raise AssertionError("traced")

    params = {"kernel": jnp.ones((16, 4)), "bias": jnp.ones(4)}
    y = Dense(4, kernel_init=once).apply({"params": params}, X)
    np.testing.assert_allclose(y[..., 0], X.sum(-1) + 1, rtol=1e-5)
    with pytest.raises(ScopeParamShapeError, match="kernel"):
        Dense(5).apply({"params": params}, X)
