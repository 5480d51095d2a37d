"""The command line: parse, call, print. Only this folder prints or exits."""

from typing import Annotated

import typer

from dkpvid import __version__
from dkpvid.cli.depth import depth
from dkpvid.cli.distill import distill
from dkpvid.cli.evaluate import evaluate
from dkpvid.cli.export import export
from dkpvid.cli.label import label
from dkpvid.cli.track import track
from dkpvid.cli.train import train

app = typer.Typer(
    name="dkpvid",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(track)
app.command()(train)
app.command("eval")(evaluate)
app.command()(distill)
app.command()(depth)
app.command()(export)
app.command()(label)


@app.callback(invoke_without_command=True)
def about(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Learn the keypoints of whatever moves in your videos without a label, and track them."""
    if version:
        print(__version__)
        raise typer.Exit


def main() -> None:
    """Entry point of the `dkpvid` command."""
    app()
