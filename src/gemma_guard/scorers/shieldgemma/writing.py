"""Asking a model for words, in a process that ends with its answer.

It loads the model once more and shares nothing with the judging, which goes on undisturbed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from gemma_guard.errors import DeadlineExceeded, ScoringFailed

_MODULE = "gemma_guard.scorers.shieldgemma.generating"


def written(
    folder: str, ids: Sequence[int], *, device: str, dtype: str, tokens: int, within_s: float
) -> list[int]:
    """The ids that the model puts after `ids`, at most `tokens`; blocks for `within_s` at most."""
    asked = {
        "folder": folder,
        "ids": ids,
        "device": device,
        "dtype": dtype,
        "tokens": tokens,
        "seconds": within_s,
    }
    try:
        done = subprocess.run(  # noqa: S603  our own module
            [sys.executable, "-P", "-m", _MODULE],
            input=json.dumps(asked).encode(),
            stdout=subprocess.PIPE,
            timeout=within_s,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded(f"nothing was written within {within_s:.0f} s") from None
    except subprocess.CalledProcessError:
        raise ScoringFailed("writing failed; see standard error") from None
    return list(json.loads(done.stdout.splitlines()[-1]))
