"""The world, a synthetic video dataset with ground truth: scenes, physics, renderer and captions; `reader/` recovers
the attributes of a scene from a clip."""
