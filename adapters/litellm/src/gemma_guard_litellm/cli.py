"""The command line, for CI: what would a proxy with this configuration guard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gemma_guard import GuardError
from gemma_guard_litellm import preflight as trial
from gemma_guard_litellm import watch

app = typer.Typer(no_args_is_help=True, add_completion=False)
_FAILED = 1


@app.callback()
def main() -> None:
    """gemma-guard in a LiteLLM proxy."""


@app.command()
def preflight(config: Annotated[Path, typer.Argument(help="the proxy's config.yaml")]) -> None:
    """Load the guardrails of CONFIG as the proxy would; fail where it would run without one."""
    try:
        found = trial.guardrails(config)
    except GuardError as error:
        typer.echo(f"{config}: {error}", err=True)
        raise typer.Exit(_FAILED) from None
    for path in watch.unknown_paths():
        typer.echo(f"refused, for it is not known here: {path}", err=True)
    for warning in trial.warnings(found):
        typer.echo(f"warning: {warning}", err=True)
