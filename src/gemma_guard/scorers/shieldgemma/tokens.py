"""Texts as token ids: judged text can never become a control token, nor merge with the question.

Needs the package `tokenizers`, nothing of torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

from tokenizers import AddedToken, Encoding, Tokenizer

from gemma_guard.errors import Cause, ConfigError, ScoringFailed, TextRefused
from gemma_guard.prompt import CONTROLS, START, Form, Template
from gemma_guard.scorer import Probe
from gemma_guard.scorers.shieldgemma.engine import Question
from gemma_guard.verdict import Stage
from gemma_guard.windows import Offsets, Window, windows

Ids = tuple[int, ...]

_UNFLAGGED = re.compile(r"<mask>|<2mass>|\[@BOS@\]|\[toxicity=0\]|<unused\d+>")
"""Control tokens of Gemma 2 that its tokenizer does not flag as special."""


def tokenizer_for_text(path: Path) -> Tokenizer:
    """The tokenizer in the file `path`, for which the spelling of a control token is just text."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    added = (token.content for token in tokenizer.get_added_tokens_decoder().values())
    unflagged = filter(_UNFLAGGED.fullmatch, added)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in unflagged])
    tokenizer.encode_special_tokens = True
    return tokenizer


class Encoder:
    """Probes as questions of at most `context` tokens for each of their policies.

    `tokenizer` is one of `tokenizer_for_text`. Where a text has more than `window` tokens, or more
    than there is room for, each of its windows is a question. A prompt that leaves an answer too
    little room loses its beginning: it is judged as a text of its own.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: Template,
        *,
        context: int = 8192,
        window: int | None = None,
        max_windows: int = 16,
    ) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._context, self._window, self._max_windows = context, window, max_windows
        self._controls = {control: self._id(control) for control in CONTROLS}
        self._forms = {stage: self._words(form) for stage, form in template.forms.items()}
        self._suffix = lru_cache(maxsize=1024)(self._ask)
        self.answers = self._id("Yes"), self._id("No")

    def questions(self, probe: Probe) -> list[tuple[Window, Question]]:
        """What is asked about `probe`: each window of its text under all of its policies.

        Raises `TextRefused` where there would be more than `max_windows`.
        """
        suffixes = tuple(self._suffixes(probe))
        words, (*earlier, judged) = self._forms[probe.stage], self._turns(probe)
        room = self._context - len(words.after) - max(map(len, suffixes), default=0)
        share = max(room // 2, room - judged.size)
        before = tuple(chain.from_iterable(turn.end(share) for turn in earlier))
        cuts = self._windows(judged, len(probe.text), room - len(before))
        stream = probe.stream if len(cuts) == 1 else None
        prefixes = [(*before, *judged.cut(w.first, w.end), *words.after) for w in cuts]
        asked = (Question(prefix, suffixes, stream) for prefix in prefixes)
        return list(zip(cuts, asked, strict=True))

    def _windows(self, turn: _Turn, length: int, room: int) -> list[Window]:
        size = min(self._window or room, room - turn.spent)
        if size < min(_LEAST_WINDOW, len(turn.ids)):
            raise ScoringFailed(f"a guideline leaves {size} of {self._context} tokens to the text")
        size, most = max(1, size), self._max_windows
        overlap = size // 8
        return list(
            windows(turn.offsets, length=length, size=size, overlap=overlap, max_windows=most)
        )

    def _suffixes(self, probe: Probe) -> Iterable[Ids]:
        for policy in probe.policies:
            if policy.guideline is None:
                raise ScoringFailed(f"{policy.name!r} has no guideline to ask about")
            yield self._suffix(probe.stage, policy.guideline.at(probe.stage))

    def _ask(self, stage: Stage, guideline: str) -> Ids:
        return tuple(self._encode(self._template.form(stage).suffix(guideline)).ids)

    def _turns(self, probe: Probe) -> list[_Turn]:
        turns = self._template.turns(probe.stage, probe.text, probe.prompt)
        leads = self._forms[probe.stage].leads
        margins = (probe.prompt or "", probe.text)[-len(turns) :]
        return [
            self._turn(lead, text, len(whole) - len(whole.lstrip()))
            for lead, (_, text), whole in zip(leads, turns, margins, strict=True)
        ]

    def _turn(self, lead: _Lead, text: str, margin: int) -> _Turn:
        """`text` encoded in one piece with the words before it; `margin` was stripped before."""
        found = self._encode(lead.words + text)
        if len(found) > self._context * self._max_windows:  # before a list is made of them
            raise TextRefused(Cause.TOO_MANY_WINDOWS, f"a text of {len(found)} tokens")
        first = next((i for i, (_, end) in enumerate(found.offsets) if end > len(lead.words)), None)
        count = len(found.ids) if first is None else first
        shift = margin - len(lead.words)
        offsets = [(max(0, a + shift), b + shift) for a, b in found.offsets[count:]]
        before = (*lead.controls, *found.ids[:count])
        return _Turn(before, lead.bare, tuple(found.ids[count:]), offsets)

    def _words(self, form: Form) -> _Words:
        return _Words(tuple(map(self._lead, form.before)), self._fixed(form.after))

    def _lead(self, words: str) -> _Lead:
        before, control, plain = words.rpartition(START)
        controls = self._fixed(before + control)
        return _Lead(controls, plain, (*controls, *self._encode(plain.rstrip()).ids))

    def _fixed(self, words: str) -> Ids:
        """Words of the template, whose control tokens are meant."""
        parts = re.split(f"({'|'.join(map(re.escape, CONTROLS))})", words)
        known = self._controls
        ids = ([known[part]] if part in known else self._encode(part).ids for part in parts)
        return tuple(chain.from_iterable(ids))

    def _encode(self, words: str) -> Encoding:
        # a batch of one: unlike `encode`, it lets other threads run meanwhile
        (found,) = self._tokenizer.encode_batch([words], add_special_tokens=False)
        return found

    def _id(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise ConfigError(f"tokenizer.json has no token {token!r}: it is not one of Gemma 2's")
        return int(found)


_LEAST_WINDOW = 16


@dataclass(frozen=True, slots=True)
class _Lead:
    """What stands before a text: control tokens, the words to encode it with, both encoded."""

    controls: Ids
    words: str
    bare: Ids


@dataclass(frozen=True, slots=True)
class _Words:
    """The fixed words of a stage."""

    leads: tuple[_Lead, ...]
    after: Ids


@dataclass(frozen=True, slots=True)
class _Turn:
    """A text of `ids`, and what stands `before` its first token, `bare` before a later one."""

    before: Ids
    bare: Ids
    ids: Ids
    offsets: Offsets

    @property
    def spent(self) -> int:
        """Tokens that any part of it needs besides its own."""
        return max(len(self.before), len(self.bare))

    @property
    def size(self) -> int:
        """Tokens of the whole."""
        return self.spent + len(self.ids)

    def cut(self, first: int, end: int) -> Ids:
        """Tokens `first <= i < end`, with what stands before them."""
        return (*(self.bare if first else self.before), *self.ids[first:end])

    def end(self, size: int) -> Ids:
        """As much of its end as `size` tokens hold."""
        room = max(0, size - self.spent)
        return self.cut(max(0, len(self.ids) - room), len(self.ids))
