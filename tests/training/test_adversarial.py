"""Adversarial training: the hinge loss, separate gradients, a start time, and a critic that learns."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sorajax.models.critic import Critic, CriticConfig, init_critic
from sorajax.training.adversarial import AdversarialConfig, balanced, game, hinge, share

CONFIG = AdversarialConfig(weight=0.3, after=10, ramp=4, penalty=0.0, critic=CriticConfig(base=4, levels=2))
KEY = jax.random.key(7)


judged = jax.jit(lambda params, video: Critic(CONFIG.critic).apply({"params": params}, video))


@pytest.fixture(scope="module")
def players():
    """The critic's parameters, a video and what was made of it."""
    rng = np.random.default_rng(0)
    video, made = (rng.uniform(-1, 1, (2, 5, 16, 16, 3)).astype(np.float32) for _ in range(2))
    shapes = jax.eval_shape(lambda: init_critic(CONFIG.critic, jax.random.key(0)))
    params = jax.tree.map(lambda leaf: rng.normal(0.02, 0.15, leaf.shape).astype(np.float32), shapes)
    return params, video, made


@jax.jit
@partial(jax.value_and_grad, argnums=(0, 2), has_aux=True)
def played(params, video, made):
    """((value, metrics), gradients in the critic's parameters and in what was made) when the critic counts fully."""
    return game(CONFIG, params, video, made, jnp.int32(CONFIG.after + CONFIG.ramp), KEY)


def norm(x):
    return np.linalg.norm(np.ravel(x))


def test_the_hinge_loss_equals_the_formula():
    assert hinge(jnp.array([2.0, 1.0]), jnp.array([-1.0, -3.0])) == 0
    assert hinge(jnp.zeros(3), jnp.zeros(3)) == 2
    assert hinge(jnp.array([0.5, 3.0]), jnp.array([1.0, -0.5])) == pytest.approx((0.5 + 0) / 2 + (2 + 0.5) / 2)


def test_critic_and_autoencoder_have_separate_gradients(players):
    """The critic's is that of the hinge loss on frozen pixels; the pixels' that of -D, scaled; both exactly."""
    params, video, made = players
    (value, metrics), (critic, pixels) = played(*players)
    slope = jax.jit(jax.value_and_grad(lambda params: hinge(judged(params, video), judged(params, made))))
    loss, wanted = slope(params)
    assert value == 0
    assert metrics["critic"] == pytest.approx(float(loss), rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), critic, wanted)
    pull = jax.jit(jax.grad(lambda x: -jnp.mean(judged(params, x))))(made)
    np.testing.assert_allclose(pixels, CONFIG.weight * balanced(pull), rtol=1e-4, atol=1e-8)


def test_the_adversarial_gradient_is_a_fixed_share_of_the_l1_gradient(players):
    params, video, made = players
    l1 = norm(np.sign(made - video) / made.size)
    louder = {**params, "conv_out": jax.tree.map(lambda x: 50 * x, params["conv_out"])}
    for critic in (params, louder):
        pull = played(critic, video, made)[1][1]
        assert norm(pull) == pytest.approx(CONFIG.weight * l1, rel=1e-4)
    assert not np.any(balanced(jnp.zeros((3, 4))))


def test_the_adversarial_weight_rises_from_zero():
    rising = [float(share(CONFIG, jnp.int32(step))) for step in (0, 10, 11, 12, 14, 1000)]
    assert rising == pytest.approx([0, 0, 0.075, 0.15, 0.3, 0.3])


def test_the_gradient_penalty_is_the_squared_gradient(players):
    """By small noise the finite difference is the squared length of the gradient, on average over draws."""
    params, video, made = players
    config, one = replace(CONFIG, noise=1e-2), video[:1, :1, :8, :8]
    answer = lambda x: Critic(CONFIG.critic).apply({"params": params}, x).reshape(-1)  # noqa: E731
    rows = jax.jit(jax.jacrev(answer))(one).reshape(len(answer(one)), -1)
    exact = float(jnp.mean(jnp.sum(jnp.square(rows), -1)))

    def drawn(seed):
        key, small = jax.random.key(seed), made[:1, :1, :8, :8]
        with_, without = (
            game(replace(config, penalty=penalty), params, one, small, jnp.int32(99), key)[1]["critic"]
            for penalty in (1.0, 0.0)
        )
        return with_ - without

    mean = float(jnp.mean(jax.jit(lambda seeds: jax.lax.map(drawn, seeds))(jnp.arange(200))))
    assert mean == pytest.approx(exact, rel=0.15)


@pytest.mark.slow
def test_a_critic_learns_to_detect_lost_texture(players):
    params, video, _ = players
    config = replace(CONFIG, penalty=0.01)
    optimizer = optax.adam(1e-2, b1=0.5)
    slope = jax.grad(lambda p, key: game(config, p, video, 0.3 * video, jnp.int32(99), key), has_aux=True)

    def step(carry, key):
        params, state = carry
        gradient, metrics = slope(params, key)
        change, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, change), state), metrics["told_apart"]

    _, right = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys))(
        (params, optimizer.init(params)), jax.random.split(KEY, 60)
    )
    assert right[0] < 0.7
    assert right[-1] > 0.9


@pytest.mark.parametrize(("field", "value"), [("weight", -1), ("noise", 0), ("after", -1)])
def test_impossible_adversarial_settings_are_one_line(field, value):
    with pytest.raises(ValueError, match=rf"adversarial.{field} is {value}: it must be"):
        replace(CONFIG, **{field: value})
