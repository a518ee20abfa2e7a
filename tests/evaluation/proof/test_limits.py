"""A process that hangs or crashes does not stop the others: its output is kept, and unused time passes on."""

import sys
import time
from pathlib import Path

import psutil
import pytest

from sorajax.evaluation.proof.limits import Command, run_all

WRITE = "import json, sys, time; file = open(sys.argv[1], 'a')\n"
LINE = "file.write(json.dumps({'name': %r}) + chr(10)); file.flush()\n"


def command(name, body, weight=1.0, **environment):
    return Command(name, weight, lambda lines, seconds: [sys.executable, "-c", WRITE + body, str(lines)], environment)


def outcomes(seconds, *commands):
    shown = []
    found = list(run_all(commands, seconds, lambda name, line: shown.append((name, line["name"]))))
    return found, shown


def ended(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_process_that_hangs_is_killed_and_the_next_one_runs():
    child = "import subprocess; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    pid = "file.write(json.dumps({'name': str(child.pid)}) + chr(10)); file.flush()\n"
    hangs = command("hangs", LINE % "first" + child + pid + "print('so far'); sys.stdout.flush(); time.sleep(60)")
    start = time.monotonic()
    (hung, ran), shown = outcomes(6.0, hangs, command("next", LINE % "second"))
    assert time.monotonic() - start < 6.5
    assert (hung.state, ran.state) == ("out of time", "ran")
    assert hung.limit == pytest.approx(3.0, abs=0.1)
    assert "killed after" in hung.error
    assert "so far" in hung.output
    assert shown[0] == ("hangs", "first")
    assert shown[-1] == ("next", "second")
    assert ended(int(hung.lines[1]["name"]))  # what it began does not go on either


def test_a_crash_keeps_its_output_and_its_reason():
    (crashed, killed, ran), _ = outcomes(
        60.0,
        command("crashes", LINE % "first" + "raise ValueError('no such kernel')"),
        command("signal", LINE % "second" + "import os; os.kill(os.getpid(), 11)"),
        command("next", ""),
    )
    assert [outcome.state for outcome in (crashed, killed, ran)] == ["crashed", "crashed", "ran"]
    assert crashed.error == "exit code 1: ValueError: no such kernel"
    assert killed.error.startswith("ended by signal 11")
    assert [len(outcome.lines) for outcome in (crashed, killed, ran)] == [1, 1, 0]


def test_unused_time_passes_to_the_next_process():
    (short, long), _ = outcomes(30.0, command("short", "", weight=2.0), command("long", "", weight=1.0))
    assert short.limit == pytest.approx(20.0, abs=0.1)
    assert long.limit == pytest.approx(30.0 - short.seconds, abs=0.5)


def test_a_process_without_time_left_is_not_started(tmp_path):
    file = tmp_path / "begun"
    (outcome,), _ = outcomes(0.5, command("late", f"open({str(file)!r}, 'w')"))
    assert outcome.state == "not begun"
    assert not Path(file).exists()


def test_incomplete_lines_are_not_read():
    (outcome,), _ = outcomes(
        20.0,
        command("slow", "file.write('{\"name\":'); file.flush(); time.sleep(0.3); file.write('\"x\"}' + chr(10))"),
    )
    assert outcome.lines == [{"name": "x"}]


def test_the_environment_of_a_command_is_its_own():
    body = "import os; file.write(json.dumps({'name': os.environ['WANTED']}) + chr(10))"
    (outcome,), _ = outcomes(20.0, command("environment", body, WANTED="here"))
    assert outcome.lines == [{"name": "here"}]
