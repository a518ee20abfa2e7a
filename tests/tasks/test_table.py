"""The table of tasks: its rows can be run, and the command line and Python know the same ones."""

import inspect
from dataclasses import fields

import pytest

from sorajax import tasks
from sorajax.commands.arguments import Arguments
from sorajax.commands.manual import DESCRIPTION
from sorajax.tasks.table import TASKS, load_function


@pytest.mark.parametrize("name", TASKS)
def test_a_row_fits_its_function(name):
    task = TASKS[name]
    function = load_function(name)
    parameters = list(inspect.signature(function).parameters)
    inputs = parameters[2 : 2 + len(task.inputs)]
    assert parameters == ["pipeline", "request", *inputs, *task.options, *["stores"] * task.resumable]
    assert getattr(tasks, function.__name__) is function
    assert function.__name__ in tasks.__all__


@pytest.mark.parametrize("name", TASKS)
def test_a_row_has_its_options_and_its_example_in_the_manual(name):
    task, options = TASKS[name], {field.name for field in fields(Arguments)}
    assert set(task.options) <= options
    assert task.name == "text" or task.name in options
    assert not task.required or task.required in task.options
    assert task.example in DESCRIPTION
    assert name == "text" or f"--{name}" in task.example


def test_an_unknown_task_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'zoom'"):
        tasks.zoom  # noqa: B018
