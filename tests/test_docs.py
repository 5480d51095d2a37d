"""What the documents say about the commands is what the commands do."""

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from dkpvid.cli import app
from dkpvid.cli.shared import EXIT_INTERRUPTED, EXIT_PARTIAL
from dkpvid.errors import DkpvidError, VideoError
from dkpvid.formats import FORMATS
from dkpvid.formats.schema import json_schema

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def commands() -> list[list[str]]:
    """Every `dkpvid` command line in the README's console examples."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = (re.search(r"\bdkpvid ([a-z]+ .*)", line) for line in lines)
    return [re.split(r"\s{2,}#| \| | > ", match[1])[0].split() for match in found if match]


def help_of(command: str) -> str:
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_option_in_the_readme_exists(words: list[str]) -> None:
    text = help_of(words[0])
    options = [word for word in words[1:] if re.fullmatch(r"--[a-z-]+|-[a-z]", word)]
    for option in options:
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text), option


def test_the_readme_shows_all_four_ways_in() -> None:
    assert {"track", "train", "depth", "distill"} <= {words[0] for words in commands()}


def first_column(heading: str) -> list[str]:
    """What a table of the README has in the column with this heading, which is its first."""
    rows = re.search(rf"^\| {heading} \|.*\n\|[-| ]+\n((?:\|.*\n)+)", README, re.M)
    assert rows, heading
    return [line.split("|")[1].strip() for line in rows[1].splitlines()]


def test_the_table_of_inputs_is_that_of_the_help() -> None:
    words = re.search(r"Videos,.*?stdin", " ".join(help_of("track").replace("│", " ").split()))
    assert words, "the help of VIDEO..."
    named = re.sub(r"\(.*?\)|for stdin", "", words[0]).replace(" or ", " ").lower()
    told = [name.strip("`").lower() for name in first_column("input")]
    assert [name.strip() for name in named.split(",")] == told


def test_the_table_of_formats_is_that_of_the_help() -> None:
    told = [name for cell in first_column("format") for name in re.findall(r"`(.*?)`", cell)]
    assert told == list(FORMATS)
    assert f"{', '.join(told)}; several with commas." in " ".join(help_of("track").replace("│", " ").split())


def test_the_table_of_exit_codes_is_that_of_the_help() -> None:
    told = [int(code) for code in first_column("exit code")]
    listed = help_of("track").partition("Exit codes:")[2].partition("╭")[0]
    assert [int(code) for code in re.findall(r"(?:^|; )(\d+) ", " ".join(listed.split()))] == told
    errors = {DkpvidError, *DkpvidError.__subclasses__(), VideoError}
    in_code = {error.exit_code for error in errors} | {0, EXIT_PARTIAL, EXIT_INTERRUPTED}
    assert set(told) == in_code


def test_the_readmes_record_is_a_frame_of_the_schema() -> None:
    record = json.loads(re.search(r"```json\n(.*?)```", README, re.S)[1])  # type: ignore[index]
    schema = json_schema()
    Draft202012Validator({"$ref": "#/$defs/frame", "$defs": schema["$defs"]}).validate(record)


def test_the_readmes_tree_names_every_module() -> None:
    tree = re.search(r"## The code\n\n```\n(.*?)```", README, re.S)[1]  # type: ignore[index]
    told: list[str] = []
    folders: list[str] = []
    for line in tree.splitlines():
        indent, names = re.match(r"( *)([^\s,]+(?:, [^\s,]+)*)", line).groups()  # type: ignore[union-attr]
        folders = folders[: len(indent) // 2]
        told += ["".join([*folders, name]) for name in names.split(", ")]
        if names.endswith("/"):
            folders.append(names)
    paths = [path.relative_to(ROOT) for path in (ROOT / "dkpvid").rglob("*.py")]
    modules = [str(path) for path in paths if path.name != "__init__.py" or len(path.parts) == 2]
    assert sorted(name for name in told if name.endswith(".py")) == sorted(modules)
    assert all((ROOT / name).is_dir() for name in told if name.endswith("/"))


def test_links_of_the_documents_lead_somewhere() -> None:
    for name in ("README.md", "docs/labeling.md", "weights/default.md", "benchmarks/README.md"):
        document = ROOT / name
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{name}: {target}"


def test_the_changelog_has_the_sections_of_its_format() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in text
    sections = set(re.findall(r"^### (.+)$", text, re.M))
    assert sections <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
