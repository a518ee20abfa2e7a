"""The manual's examples are command lines that the parser takes, each for the task that it shows."""

import shlex

import pytest

from sorajax.commands.arguments import Arguments
from sorajax.commands.manual import DESCRIPTION, OTHERS, example
from sorajax.commands.parsing import parse_options
from sorajax.tasks.table import TASKS


@pytest.mark.parametrize("words", OTHERS.values())
def test_an_example_is_parsed(words):
    arguments = parse_options(Arguments, "tool", shlex.split(words))
    assert arguments.prompts or arguments.prompts_file
    assert example("x", words).splitlines()[1] in DESCRIPTION


@pytest.mark.parametrize("name", TASKS)
def test_the_example_of_a_task_sets_its_option(name):
    arguments = parse_options(Arguments, "tool", shlex.split(TASKS[name].example))
    assert [task for task in TASKS if getattr(arguments, task, None)] == ([] if name == "text" else [name])
