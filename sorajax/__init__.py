"""sorajax: an open, forkable Sora in JAX."""
