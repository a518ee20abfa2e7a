"""The models, and the one dimension key of the project.

    b  batch                    d  model width
    t  latent or pixel frames   n  attention heads
    h  rows                     k  head width
    w  columns                  f  hidden width of a feed-forward layer
    c  channels                 e  text embedding width
    s  spacetime tokens         p  values of one patch
    m  text tokens

Einsum letters, einops patterns and jaxtyping shapes use these letters. The diffusion clock is always `time`
(1 = noise, 0 = data), never `t`.
"""
