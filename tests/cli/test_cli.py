"""The command line as a whole: help for everything, and a quick start."""

import subprocess
import sys
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

import dkpvid
from dkpvid.cli import app

GROUP: Any = typer.main.get_command(app)  # a group of the click that Typer brings along
COMMANDS = sorted(GROUP.commands)

HEAVY = {"av", "decord", "scipy", "timm", "torch", "torchvision"}


def heavy_modules_after(code: str) -> list[str]:
    """What of `HEAVY` a new process has loaded at the end of a program."""
    last_line = run("-c", f"import sys\n{code}\nprint(*sys.modules)").stdout.splitlines()[-1]
    return sorted(HEAVY & set(last_line.split()))


def calls(words: list[list[str]], exit_code: int) -> str:
    """A program that calls the command line again and again."""
    return f"""
from dkpvid.cli import main
for words in {words}:
    sys.argv = ["dkpvid", *words]
    try:
        main()
    except SystemExit as end:
        assert end.code == {exit_code}, (words, end.code)
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)


def test_the_users_commands_are_there() -> None:
    assert set(COMMANDS) >= {"track", "train", "distill", "eval", "depth", "export"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_and_all_its_options_have_help(command: str) -> None:
    assert GROUP.commands[command].help, "the docstring of the command"
    for parameter in GROUP.commands[command].params:
        assert parameter.help, f"{command}: {parameter.opts} has no help"
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert result.stderr == ""
    for parameter in GROUP.commands[command].params:
        for name in parameter.opts if parameter.param_type_name == "option" else ():
            assert name in result.stdout
    assert CliRunner().invoke(app, [command, "-h"], env={"COLUMNS": "200"}).stdout == result.stdout


@pytest.mark.parametrize("words", [["--help"], ["-h"], []])
def test_help_lists_every_command(words: list[str]) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == (0 if words else 2)
    for command in COMMANDS:
        assert f" {command} " in result.output


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"{dkpvid.__version__}\n")


def test_an_unknown_command_is_wrong_usage() -> None:
    result = CliRunner().invoke(app, ["trakc"])
    assert result.exit_code == 2
    assert "trakc" in result.stderr
    assert result.stdout == ""


def test_it_runs_as_a_module() -> None:
    done = run("-m", "dkpvid", "--version")
    assert (done.stdout, done.stderr) == (f"{dkpvid.__version__}\n", "")


def test_help_loads_nothing_heavy() -> None:
    words = [["--help"], ["--version"], *([command, "--help"] for command in COMMANDS)]
    assert heavy_modules_after(calls(words, exit_code=0)) == []


def test_wrong_usage_is_told_before_anything_heavy_is_loaded() -> None:
    words = [["track", __file__, "--format", "xml"], ["track", __file__, "--roi", "1,2"]]
    assert heavy_modules_after(calls(words, exit_code=2)) == []


def test_the_package_loads_nothing_at_all() -> None:
    assert heavy_modules_after("import dkpvid") == []
    assert run("-c", "import dkpvid, sys; print('numpy' in sys.modules)").stdout == "False\n"


def test_heavy_modules_are_noticed() -> None:
    assert heavy_modules_after("import dkpvid.video.streams") == ["av"]
