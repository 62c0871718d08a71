"""`python -m gemma_guard_litellm`."""

from gemma_guard_litellm.cli import app

app(prog_name="gemma-guard-litellm")
