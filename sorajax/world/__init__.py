"""The world: scenes, their physics, their renderer, their captions; and `reader`, which reads clips back."""
