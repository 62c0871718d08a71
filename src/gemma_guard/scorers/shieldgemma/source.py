"""Where a model's files are, and which they are: a folder, or a model of the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma_guard.errors import ConfigError

_WORDS = ("config.json", "tokenizer.json")
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")


@dataclass(frozen=True, slots=True)
class Source:
    """A folder, or a model of the Hub at `revision`: a commit, a branch or a tag."""

    model: str
    revision: str | None = None

    def words(self) -> Path:
        """The folder with configuration and tokenizer."""
        return self._folder(_WORDS)

    def weights(self) -> Path:
        """The folder with all of it. Weights are safetensors; anything else is left alone."""
        folder = self._folder((*_WORDS, *_WEIGHTS))
        if not any(folder.glob("*.safetensors")):
            raise ConfigError(
                f"{self.model}: no *.safetensors in it; pickled weights are never read: convert "
                "them with the model's save_pretrained"
            )
        return folder

    def config(self) -> dict[str, Any]:
        """What config.json says; only Gemma 2's architecture is read."""
        path = self.words() / "config.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{self.model}: config.json is not JSON: {error}") from None
        kind = found.get("model_type") if isinstance(found, dict) else None
        if kind != "gemma2":
            raise ConfigError(f"{self.model}: model_type is {kind!r}; ShieldGemma is a 'gemma2'")
        return dict(found)

    def fingerprint(self) -> str:
        """A hash of configuration, tokenizer and weights, or the Hub's commit, which holds them."""
        if not self._is_local:
            return f"{self.model}@{self.words().name}"
        digest = hashlib.sha256()
        for path in _files(self.weights()):
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return f"{Path(self.model).name}@{digest.hexdigest()[:12]}"

    @property
    def _is_local(self) -> bool:
        return Path(self.model).is_dir()

    def _folder(self, wanted: tuple[str, ...]) -> Path:
        folder = Path(self.model) if self._is_local else self._download(wanted)
        missing = [name for name in _WORDS if not (folder / name).is_file()]
        if missing:
            raise ConfigError(f"{self.model}: no {' and no '.join(missing)} in it")
        return folder

    def _download(self, wanted: tuple[str, ...]) -> Path:
        # only here: it imports an HTTP client, which a model on this machine needs not
        from huggingface_hub import errors, snapshot_download  # noqa: PLC0415

        page = f"https://huggingface.co/{self.model}"
        try:
            return Path(
                snapshot_download(self.model, revision=self.revision, allow_patterns=[*wanted])
            )
        except errors.GatedRepoError:
            why = f"its licence must be accepted: click on {page}, then run: hf auth login"
        except errors.RevisionNotFoundError:
            why = f"it has no revision {self.revision!r}; see {page}/commits/main"
        except (errors.RepositoryNotFoundError, errors.HFValidationError):
            why = (
                "neither a folder here nor a model that the Hub shows us; ShieldGemma is "
                "google/shieldgemma-2b, -9b and -27b: click on https://huggingface.co/google/"
                "shieldgemma-2b to accept its licence, then run: hf auth login"
            )
        except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, OSError):
            why = f"not on this machine, and the Hub does not answer; run: hf download {self.model}"
        raise ConfigError(f"{self.model}: {why}")


def _files(folder: Path) -> Iterator[Path]:
    names = [*_WORDS, *(path.name for path in folder.glob("*.safetensors"))]
    yield from (folder / name for name in sorted(names))
