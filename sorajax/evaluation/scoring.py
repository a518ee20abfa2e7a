"""How well one clip and one prompt agree."""

from sorajax.evaluation.markdown import Measured
from sorajax.evaluation.options import Score
from sorajax.language.clip import open_any_score
from sorajax.media.video import Video


def measure(options: Score) -> Measured:
    """Prints the score of a clip and a prompt."""
    score = open_any_score(options.model)
    found = score(Video.load(options.clip), options.prompt)
    print(f"{found:.3f}")
    return Measured({"score": found}, {})
