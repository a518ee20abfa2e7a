"""Links, pictures, files and extras on the pages exist; each command there is parsed, and run where that is quick."""

import ast
import re
import shlex
import tomllib
from importlib import import_module
from pathlib import Path

import jax
import pytest

from sorajax.commands.evaluate import SUBCOMMANDS
from sorajax.media.video import Video
from sorajax.models.folder import PLAY, WORLD, load_model
from sorajax.models.sora import SoraConfig
from sorajax.pretrained.lora import TARGETS, init_adapters, save_lora
from sorajax.training.ahead import CHIPS
from tests import ROOT

OUTSIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "launch/README.md")
PAGES = [*(ROOT / name for name in OUTSIDE), WORLD / "MODEL_CARD.md", *sorted((ROOT / "docs").glob("*.md"))]
EXPERIMENTS = sorted((ROOT / "configs").glob("*.py"))
LINK = re.compile(r"\]\(([^)#\s]+)|src=['\"]([^'\"]+)")
FILE = re.compile(r"(?<![\w./-])(?:sorajax|configs|launch|tests|docs|colab|\.ci)/[\w./-]+")
BLOCK = re.compile(r"```\w*\n(.*?)```", re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
PLACEHOLDERS = {"N": "4"}
"""Values that a page leaves to its reader, and those that the tests use."""

PARSED = {
    "sorajax.train": "trains for minutes or hours",
    "sorajax.plan": "compiles for machines that are not here, with the extra `tpu` or `cuda`: .ci/run does",
    "sorajax.serve": "serves until a signal, or changes keys: tests/server does",
    "sorajax.benchmark": "measures for minutes, or needs a GPU: .ci/run rehearses it",
    "sorajax.evaluate": "makes or reads hundreds of clips",
    "sorajax.convert": "needs real weights",
    "sorajax.caption": "needs a trained captioner: tests/commands does",
    "--expand": "needs a trained expander or a chat server: tests/commands does",
    "sorajax.record": "needs the extra `craftax`: tests/data does",
    "sorajax.verify": "needs a signed file: tests/safety does",
    "sorajax.encode": "prepares and encodes films for minutes: tests/data/videos and the notebooks do",
    "--model Wan": "needs real weights",
    "--model nvidia": "needs real weights",
    "--sigma": "needs the averages of a long training",
}
"""Commands with one of these words are only parsed, for this reason; all others are also run."""

WORK = (
    "commands.average.average",
    "commands.average.average_models",
    "commands.benchmark.check_reference",
    "commands.benchmark.conditions",
    "commands.caption.caption",
    "commands.convert.convert",
    "commands.encode.prepare",
    "commands.play.play",
    "commands.record.record",
    "commands.sample.load",
    "commands.serve.manage_keys",
    "commands.serve.serve",
    "commands.train.train",
    "commands.verify.verify",
    "evaluation.proof.command.run_all",
)
"""The functions that command lines call once their arguments are parsed and checked."""


def commands(text: str) -> list[str]:
    """Commands of sorajax in code blocks and in line, from the module on."""
    inline = [" ".join(span.split()) for span in SPAN.findall(BLOCK.sub("", text))]
    lines = "\n".join([*BLOCK.findall(text), *inline]).replace("\\\n", " ").splitlines()
    said = [shlex.split(line, comments=True) for line in lines if "-m sorajax." in line]
    placed = [[PLACEHOLDERS.get(word, word) for word in words[words.index("-m") + 1 :]] for words in said]
    return [shlex.join(words) for words in placed if words[1:] not in ([], ["..."])]


def commands_of(experiment: Path) -> list[str]:
    """Commands in an experiment's docstring: indented, each up to the words that say what it does, or in line."""
    text = (ast.get_docstring(ast.parse(experiment.read_text()), clean=False) or "").replace("\\\n", " ")
    indented = [re.sub(r"(\S) {4,}\w.*", r"\1", line) for line in re.findall(r"^ {4}(python .*)", text, re.MULTILINE)]
    return commands("\n".join(["```", *indented, "```", re.sub(r"(?m)^ {4}python.*", "", text)]))


ON_PAGES = sorted({command for page in PAGES for command in commands(page.read_text())})
IN_EXPERIMENTS = sorted({command for file in EXPERIMENTS for command in commands_of(file)} - set(ON_PAGES))
RUN = [command for command in ON_PAGES if not any(word in command for word in PARSED)]


class Reached(BaseException):
    """Raised in place of the work of a command line whose arguments are parsed and checked."""


def reached(*_, **__):
    raise Reached


def checked_topology(name: str):
    """Replaces `Topology`, whose compiler is an extra; kinds are checked all the same."""
    assert name.partition(":")[0] in CHIPS
    raise Reached


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A folder to run commands in: a link to the experiments, and small files with the names that pages use."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("configs", "sorajax"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("docs", "models", "runs", "videos"):
        (folder / name).mkdir()
    for page in (ROOT / "README.md", ROOT / "docs" / "prompts.txt", *(ROOT / "docs").glob("*.md")):
        (folder / page.relative_to(ROOT)).write_text(page.read_text())
    given = ROOT / "docs" / "tasks"
    for name in ("mask.png", "board.json"):
        (folder / name).write_bytes((given / name).read_bytes())
    still, clip = Video.load(given / "still.png"), Video.load(given / "clip.webp")
    for name in ("ball.png", "cat.png", "first.png", "last.png"):
        still.save(folder / name)
    for name in ("clip.mp4", "a.mp4", "b.mp4"):
        clip.save(folder / name)
    for name in ("runs/world_dit", "runs/distill_world", "runs/videos_dit", "models/before", "runs/after"):
        (folder / name).symlink_to(WORLD)
    for name in ("play_dit", "play_second", "play_third"):
        (folder / "runs" / name).symlink_to(PLAY)
    (folder / "runs" / "world_lora" / "model").mkdir(parents=True)
    config, params, _ = load_model(WORLD, SoraConfig)
    adapters = init_adapters(params["dit"], 2, TARGETS, jax.random.key(0))
    save_lora(folder / "runs" / "world_lora" / "model" / "lora.safetensors", adapters, config.dit, 2.0)
    return folder


def main_of(command: str):
    """The `main` of a command's module, and its arguments."""
    module, *arguments = shlex.split(command)
    assert (ROOT / "sorajax" / f"{module.removeprefix('sorajax.')}.py").is_file()
    return import_module(module).main, arguments


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_pictures_files_and_extras_exist(page):
    text = page.read_text()
    links = {a or b for a, b in LINK.findall(text)} - {"", None}
    gone = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    named = FILE.findall("\n".join(BLOCK.findall(text) + SPAN.findall(BLOCK.sub("", text))))
    gone += [file for file in named if not (ROOT / file).exists() and "X" not in file and not file.endswith("-v0")]
    extras = re.findall(r"pip install.*?\[([\w,]+)\]", text)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert not gone + [name for extra in extras for name in extra.split(",") if name not in known]


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_states_hardware_time_and_result_in_figures(experiment):
    text = ast.get_docstring(ast.parse(experiment.read_text())) or ""
    stated = dict(re.findall(r"^(Hardware|Time|Result): ((?:.+\n?)+?)(?=Time:|Result:|\n|\Z)", text, re.MULTILINE))
    assert stated.keys() == {"Hardware", "Time", "Result"}
    assert all(re.search(r"\d|not measured", words) for words in stated.values())


@pytest.mark.parametrize("command", [*ON_PAGES, *IN_EXPERIMENTS])
def test_a_command_is_parsed(command, reader, monkeypatch):
    main, arguments = main_of(command)
    monkeypatch.chdir(reader)
    if "--help" in arguments:
        assert main(arguments) == 0
        return
    for place in WORK:
        monkeypatch.setattr(f"sorajax.{place}", reached)
    for row in SUBCOMMANDS.values():
        monkeypatch.setattr(f"{row.module}.{row.function}", reached)
    monkeypatch.setattr("sorajax.evaluation.plans.Topology", checked_topology)
    with pytest.raises(Reached):
        main(arguments)


@pytest.mark.slow
@pytest.mark.parametrize("command", RUN)
def test_a_command_runs(command, reader, monkeypatch, capsys):
    main, arguments = main_of(command)
    monkeypatch.chdir(reader)
    more = ["--steps", "1", "--overwrite"] if command.startswith("sorajax.sample") else []
    if command.startswith("sorajax.play"):  # there is no keyboard here
        more = ["--overwrite"] if "--keys" in arguments else ["--keys", "rj"]
    assert main([*arguments, *more]) == 0, capsys.readouterr().err


def test_commands_of_every_form_are_found():
    text = "a\n```bash\nx && python -m sorajax.sample 'a b' --size 1x1   # c\npip install y\n```\n"
    text += (
        "`time python -m sorajax.plan A\n  b --frames N`, `python -m sorajax.train` and `python -m sorajax.train ...`"
    )
    assert commands(text) == ["sorajax.sample 'a b' --size 1x1", "sorajax.plan A b --frames 4"]
