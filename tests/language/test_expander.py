"""An expansion keeps what was said; a prompt outside the grammar stays as it is."""

import pytest

from sorajax.errors import Note
from sorajax.language.expander import CANDIDATES, Expander, keeps
from sorajax.world.grammar import stated

PROMPT = "red ball bouncing"
GOOD = "a large red ball bounces slowly on a grey floor."


class Scripted(Expander):
    """An expander whose network writes these texts."""

    def __init__(self, *texts):
        self.texts, self.seeds = texts, []

    def drawn(self, prompt, seed):
        self.seeds.append(seed)
        return [*self.texts, *["nonsense"] * (CANDIDATES - len(self.texts))]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (GOOD, True),
        ("a large blue ball bounces on a grey floor", False),
        ("a large red ball falls on a grey floor", False),
        ("a large red ball bounces to the left of a small blue box on a grey floor", False),
        ("a large red dog bounces", False),
    ],
)
def test_an_expansion_says_all_that_was_said_of_as_many_objects(text, kept):
    assert keeps(text, stated(PROMPT)) == kept


def test_the_first_candidate_that_keeps_everything_is_taken():
    assert (
        Scripted("a blue ball bounces on a grey floor", GOOD)(PROMPT)
        == "A large red ball bounces slowly on a grey floor."
    )


def test_where_none_does_the_prompt_stays_with_a_note():
    expander = Scripted("a blue ball bounces on a grey floor")
    with pytest.warns(Note, match="kept all"):
        assert expander(PROMPT, seed=5) == PROMPT
    assert expander.seeds[0] == 5
    assert len(set(expander.seeds)) > 1


def test_other_words_stay_with_a_note():
    with pytest.warns(Note, match="does not know"):
        assert Scripted(GOOD)("a dog in the rain") == "a dog in the rain"
