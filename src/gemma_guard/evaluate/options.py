"""The arguments of the commands, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CONFIG_NAME = "guard.yaml"

Accepted = Annotated[Path, typer.Option("--out", file_okay=False, help="Where everything goes.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a run, one a line.")]
Compare = Annotated[
    list[Path] | None,
    typer.Option(exists=True, dir_okay=False, help="A run kept before, for the page."),
]
Concurrency = Annotated[int, typer.Option(min=1, help="How many rows are judged at once.")]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="GEMMA_GUARD_CONFIG",
        help=f"guard.yaml to use; otherwise ./{CONFIG_NAME} if it is there, or what is shipped.",
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:0.")]
Dtype = Annotated[str, typer.Option(help="As it will serve: float32 or bfloat16.")]
Files = Annotated[
    list[Path],
    typer.Argument(help="JSON lines (also .gz), CSV or parquet.", exists=True, dir_okay=False),
]
Harmful = Annotated[str, typer.Option(help="The column that says 1 or 0 of the whole row.")]
Label = Annotated[
    list[str] | None,
    typer.Option(metavar="POLICY=COLUMN", help="The column that says 1 or 0 of one policy."),
]
Model = Annotated[
    Path,
    typer.Argument(help="The folder with ShieldGemma's weights.", exists=True, file_okay=False),
]
Out = Annotated[Path, typer.Option(file_okay=False, help="Where the proposal is written.")]
Prior = Annotated[
    float | None,
    typer.Option(min=1e-6, max=1 - 1e-6, help="The share of violations in your traffic."),
]
Report = Annotated[
    Path | None, typer.Option(file_okay=False, help="Write a page and the runs to this folder.")
]
Response = Annotated[str, typer.Option(help="The column that holds an answer to it, if any.")]
RouteName = Annotated[str | None, typer.Option("--route", help="The route to judge on.")]
RunPath = Annotated[
    Path | None,
    typer.Option(help="Keep what is judged in this file; given again, it goes on from there."),
]
Scorer = Annotated[str | None, typer.Option(help="Judge with this one instead.")]
Scorers = Annotated[
    list[str] | None,
    typer.Option(help="Judge with this one instead; give it twice to compare two."),
]
ShowText = Annotated[
    bool, typer.Option("--show-text", help="Also print the worst mistakes with their text.")
]
Source = Annotated[str, typer.Option(help="The column to break figures down by.")]
Streamed = Annotated[
    bool, typer.Option("--streamed", help="Judge answers chunk by chunk, as a model gives them.")
]
Targets = Annotated[
    list[str],
    typer.Option(help='"fpr<=0.001", "recall>=0.95", "cost fp=1 fn=20"; "log: ..." for a band.'),
]
TargetsIfAny = Annotated[
    list[str] | None, typer.Option(help="As for tune; without one no bands are proposed.")
]
Text = Annotated[str, typer.Option(help="The column that holds the text.")]
Texts = Annotated[
    Path,
    typer.Argument(
        help="Texts of your own: .txt (one a line), .jsonl, .csv or .parquet.",
        exists=True,
        dir_okay=False,
    ),
]
