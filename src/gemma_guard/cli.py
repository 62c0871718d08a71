"""The command line: check, demo, init, lint, explain, doctor, policies, show, hash."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from gemma_guard import demo as demonstration
from gemma_guard import doctor as doctoring
from gemma_guard import exemption, plugins, records, report, settings
from gemma_guard import explain as explaining
from gemma_guard.errors import GuardError
from gemma_guard.evaluate import commands
from gemma_guard.exemption import hashed
from gemma_guard.guard import Guard
from gemma_guard.reasoning import Inquiry
from gemma_guard.route import Route
from gemma_guard.starter import STARTER
from gemma_guard.verdict import Action, Verdict

CONFIG_NAME = "guard.yaml"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Check what goes into and comes out of a language model against policies.\n\n"
    "Start with `gemma-guard demo`, then `gemma-guard check TEXT`, then `gemma-guard init`.",
)

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="GEMMA_GUARD_CONFIG",
        help=f"guard.yaml to use; otherwise ./{CONFIG_NAME} if it is there, or what is shipped.",
    ),
]


commands.register(app)


def main() -> None:
    """Run the command line; exits 2 for bad usage or configuration."""
    records.logger.setLevel(logging.ERROR)  # each command says itself what a warning would
    app()


@app.command()
def check(
    text: Annotated[
        str, typer.Argument(help="The text to check; `-` or nothing reads standard input.")
    ] = "-",
    stage: Annotated[
        str, typer.Option(help="input: what goes to a model; output: what it answers.")
    ] = "input",
    prompt: Annotated[str | None, typer.Option(help="What an output text answers.")] = None,
    route: Annotated[str | None, typer.Option(help="The route to check on.")] = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    fail_on: Annotated[
        str | None,
        typer.Option(help="Exit 1 at this action or a harder one: log, redact or block."),
    ] = None,
) -> None:
    """Check one text and say what is found.

    Example: gemma-guard check "You are an idiot." --fail-on log
    """
    with _errors_in_words():
        limit = Action.parse(fail_on) if fail_on else None
        guard, origin = _guard(config)
        given = _given(text)
        verdict = guard.check_sync(given, stage=stage, prompt=prompt, route=route)
    if as_json:
        typer.echo(json.dumps(report.as_json(verdict), default=float))
    else:
        _print(verdict, guard, origin)
    if limit is not None and verdict.action >= limit:
        raise typer.Exit(1)


@app.command()
def demo() -> None:
    """Watch short conversations being checked, redacted and blocked."""
    with _errors_in_words():
        asyncio.run(demonstration.run(Console(highlight=False)))


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path(CONFIG_NAME),
    force: Annotated[
        bool, typer.Option("--force", help="Write over a file that is there.")
    ] = False,
) -> None:
    """Write a commented guard.yaml to start from."""
    if path.exists() and not force:
        _refuse(f"{path} is there already; use --force to write over it")
    path.write_text(STARTER, encoding="utf-8")
    typer.echo(f"wrote {path}; change it, then run: gemma-guard lint {path}")


@app.command()
def lint(
    path: Annotated[Path, typer.Argument(help="The file to check.")] = Path(CONFIG_NAME),
) -> None:
    """Check a guard.yaml: every key, pack, policy, band and scorer in it."""
    with _errors_in_words():
        loaded = settings.load(path)
        guard = Guard(loaded, sinks=())
    for warning in exemption.warnings(loaded.exemptions, exemption.today()):
        typer.echo(f"{path}: warning: {warning}")
    for route in guard.routes.routes.values():
        typer.echo(f"{path}: route {route.name}: {len(route.rules)} policies, {_on_error(route)}")
        if not route.rules:
            typer.echo(f"{path}: warning: route {route.name} lets everything pass, as a gap")
    typer.echo(f"{path}: good; fingerprint {guard.fingerprint}")


@app.command()
def explain(
    text: Annotated[
        str, typer.Argument(help="The text; `-` or nothing reads standard input.")
    ] = "-",
    policy: Annotated[str, typer.Option(help="The policy to ask about.")] = "dangerous_content",
    reasoning: Annotated[
        bool, typer.Option("--reasoning", help="Have the model write why, step by step.")
    ] = False,
    tokens: Annotated[int, typer.Option(help="With --reasoning: how much it may write.")] = 256,
    stage: Annotated[str, typer.Option(help="input or output.")] = "input",
    prompt: Annotated[str | None, typer.Option(help="What an output text answers.")] = None,
    route: Annotated[str | None, typer.Option(help="The route to check on.")] = None,
    config: Config = None,
) -> None:
    """Say what the judge was asked about a text, what it found, and in its own words why.

    Example: gemma-guard explain "..." --policy harassment --reasoning
    """
    with _errors_in_words():
        guard, origin = _guard(config, sinks=False)
        given = _given(text)
        inquiry = Inquiry(given, policy, explaining.stage(stage), prompt, tokens)
        explained = asyncio.run(explaining.explained(guard, inquiry, route, in_words=reasoning))
    typer.echo("\n".join(explaining.lines(explained, origin)))


@app.command()
def doctor(
    config: Config = None,
    remote: Annotated[
        str | None, typer.Option(metavar="URL", help="Examine this server instead of a guard.yaml.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="With --remote: the name the model is served under.")
    ] = "google/shieldgemma-2b",
    tokenizer: Annotated[
        str, typer.Option(help="With --remote: the tokenizer.json of the model.")
    ] = "tokenizer.json",
    dialect: Annotated[
        str, typer.Option(help="With --remote: vllm, sglang or completions.")
    ] = "vllm",
    key_env: Annotated[
        str, typer.Option(help="With --remote: the environment variable that holds the key.")
    ] = "",
) -> None:
    """Ask every judge what it runs on, how long it takes, and whether it is well.

    Exits 1 where one is not. Example: gemma-guard doctor --remote http://127.0.0.1:8000
    """
    with _errors_in_words():
        if remote:
            options = {"model": model, "tokenizer": tokenizer, "dialect": dialect}
            loaded = doctoring.for_remote(remote, key_env=key_env, **options)
            guard, origin = Guard(loaded, sinks=()), remote
        else:
            guard, origin = _guard(config, sinks=False)
        healths = asyncio.run(doctoring.examined(guard))
    typer.echo(f"gemma-guard {version('gemma-guard')}, {origin}, fingerprint {guard.fingerprint}")
    for health in healths:
        typer.echo("\n".join(report.health(health)))
    if not all(health.is_well for health in healths):
        raise typer.Exit(1)


@app.command("hash")
def hash_text(
    text: Annotated[
        str, typer.Argument(help="The text; `-` or nothing reads standard input.")
    ] = "-",
    config: Config = None,
) -> None:
    """Print what stands for a text under `exceptions` in guard.yaml.

    It is keyed with `hash_key` of guard.yaml, so that nobody without the key can guess the text.
    """
    with _errors_in_words():
        path = _config(config)
        key = next(iter(settings.load(path).routes.routes.values())).hash_key if path else ""
    if not key:
        _refuse(f"set hash_key in guard.yaml first, for instance to {secrets.token_hex(16)}")
    typer.echo(hashed(_given(text), key))


@app.command()
def policies(
    config: Config = None,
    route: Annotated[str | None, typer.Option(help="Only this route.")] = None,
) -> None:
    """List the policies of every route with their bands, and the packs installed."""
    with _errors_in_words():
        guard, origin = _guard(config, sinks=False)
        chosen = [guard.routes.named(route)] if route else guard.routes.routes.values()
    console = Console(highlight=False)
    console.print(f"from {origin}")
    for one in chosen:
        console.print(report.policies(one))
    console.print(f"packs installed: {', '.join(plugins.available('packs'))}")
    console.print(f"scorers installed: {', '.join(plugins.available('scorers'))}")


@app.command()
def show(
    decision: Annotated[str, typer.Argument(help="The id of a decision.")],
    config: Config = None,
    file: Annotated[
        Path | None, typer.Option("--records", help="The JSON-lines file it was recorded in.")
    ] = None,
) -> None:
    """Say why a decision fell: policy, band, route, spans, and the key that decided."""
    with _errors_in_words():
        path = file or _records(config)
    if not path.exists():
        _refuse(f"{path}: no decisions are recorded there yet")
    found = records.find(path, decision)
    if found is None:
        _refuse(f"{path} has no decision {decision!r}")
    typer.echo("\n".join(report.decision(found)))


def _on_error(route: Route) -> str:
    return f"fallback {route.fallback.scorer}" if route.fallback else route.on_error


def _guard(config: Path | None, *, sinks: bool = True) -> tuple[Guard, str]:
    path = _config(config)
    loaded = settings.load(path) if path else settings.loads(settings.SHIPPED, source="shipped")
    return Guard(loaded, sinks=None if sinks else ()), str(path) if path else "what is shipped"


def _config(config: Path | None) -> Path | None:
    here = Path(CONFIG_NAME)
    return config or (here if here.exists() else None)


def _records(config: Path | None) -> Path:
    path = _config(config)
    recorded = settings.load(path).records if path else None
    if recorded is None:
        _refuse("no file of decisions: set records.jsonl in guard.yaml, or give --records FILE")
    return recorded


def _given(text: str) -> str:
    if text == "-":
        if sys.stdin.isatty():
            typer.echo("reading standard input; end it with Ctrl-D", err=True)
        text = sys.stdin.read()
    if not text:
        _refuse("there is no text to check: give one, or pipe it in")
    return text


def _print(verdict: Verdict, guard: Guard, origin: str) -> None:
    console = Console(highlight=False)
    console.print(report.action_word(verdict.action), f"({verdict.ms:.1f} ms, {origin})")
    if verdict.scores:
        console.print(report.scores(verdict, guard.routes.named(verdict.route)))
    if verdict.scores and verdict.unvalidated:
        names = ", ".join(verdict.unvalidated)
        console.print(f"unvalidated, for want of a calibration: {names}", style="dim")
    for gap in verdict.gaps:
        console.print(f"not judged: {gap.policy or 'everything'}: {gap.cause}: {gap.reason}")
    if verdict.action is Action.REDACT:
        console.print(verdict.text, markup=False, soft_wrap=True)
    console.print(f"decision {verdict.id}, route {verdict.route}", style="dim")


@contextmanager
def _errors_in_words() -> Iterator[None]:
    try:
        yield
    except GuardError as error:
        _refuse(str(error))


def _refuse(message: str) -> NoReturn:
    typer.echo(f"gemma-guard: {message}", err=True)
    raise typer.Exit(2)
