"""How well one clip and one prompt agree."""

from sorajax.evaluation.markdown import Measured
from sorajax.evaluation.options import Score
from sorajax.language.score import open_score
from sorajax.media.video import Video


def measure(options: Score) -> Measured:
    """Prints the probability that a prompt describes a clip."""
    found = open_score()(Video.load(options.clip), options.prompt)
    print(f"{found:.3f}")
    return Measured({"score": found}, {})
