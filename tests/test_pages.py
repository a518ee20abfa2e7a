"""What the pages point at exists: links, pictures, files and configs of commands, options of experiments."""

import re
import shlex

import pytest

from sorajax.training.experiments import load_experiment
from tests import ROOT

PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "launch/README.md")), *(ROOT / "docs").glob("*.md")]
LINK = re.compile(r"\]\(([^)#\s]+)|src=['\"]([^'\"]+)")
FILE = re.compile(r"`((?:sorajax|configs|launch|tests|docs|colab)/[\w./-]+)`")


def commands(text: str) -> list[list[str]]:
    """Commands of sorajax in code blocks and in line, one list of words each."""
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) + re.findall(r"`(python -m sorajax[^`]*)`", text)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = [line for line in lines if "python -m sorajax." in line or "python3 -m sorajax." in line]
    return [shlex.split(line, comments=True) for line in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_pictures_and_files_exist(page):
    text = page.read_text()
    links = {a or b for a, b in LINK.findall(text)} - {"", None}
    gone = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    gone += [file for file in FILE.findall(text) if not (ROOT / file).exists() and "X" not in file]
    assert not gone


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_name_modules_experiments_and_options_that_exist(page):
    for words in commands(page.read_text()):
        module = next(word for word in words if word.startswith("sorajax."))
        assert (ROOT / "sorajax" / f"{module.removeprefix('sorajax.')}.py").is_file(), words
        for config in (word for word in words if word.startswith("configs/")):
            experiment = load_experiment(ROOT / config)
            for option in (word for word in words if re.match(r"--(loop|model|data|objective)\.", word)):
                assert_field(experiment, option.removeprefix("--").replace("-", "_").split("."), words)


def assert_field(config, path, words):
    """A dotted option is a field of a config; numbers count entries of a tuple."""
    for name in path:
        assert name.isdigit() or hasattr(config, name), f"{'.'.join(path)} of {words}"
        config = config[int(name)] if name.isdigit() else getattr(config, name)


def test_the_reader_of_commands_sees_them():
    text = "a\n```bash\nx && python -m sorajax.sample 'a b' --size 1x1   # c\npip install y\n```\n"
    text += "`python -m sorajax.plan A \\\n  b`"
    assert commands(text) == [
        ["x", "&&", "python", "-m", "sorajax.sample", "a b", "--size", "1x1"],
        ["python", "-m", "sorajax.plan", "A", "b"],
    ]
