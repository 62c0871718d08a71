from __future__ import annotations

import numpy as np
from gemma_guard_lite.model import WEIGHTS
from gemma_guard_lite.reader import Reader
from gemma_guard_lite.windows import LONGEST

READER = Reader(WEIGHTS)


def test_every_piece_is_the_text_at_its_place() -> None:
    text = "The garden needs water, and so do the tomatoes behind the shed. " * 40
    reading = READER.read(text)
    assert len(reading.pieces) > 1
    for (start, end), piece in zip(reading.places, reading.pieces, strict=True):
        assert " ".join(piece) == text[start:end].replace("  ", " ") or len(piece) == 1
        assert piece[0] == text[start : start + len(piece[0])]
        assert piece[-1] == text[end - len(piece[-1]) : end]


def test_nothing_of_a_long_text_is_left_out() -> None:
    text = " ".join(f"word{number}" for number in range(3 * LONGEST))
    reading = READER.read(text)
    assert reading.places[0] == (0, len(text))
    covered = {at for start, end in reading.places[1:] for at in range(start, end)}
    assert covered == set(range(len(text)))


def test_places_point_into_the_text_as_it_was_written() -> None:
    filler = "https://example.org/a-long-link-that-is-not-read " * 30
    text = f"{filler}I will k1ll you {filler}" + "and then we had tea " * 40
    reading = READER.read(text)
    assert all(0 <= start <= end <= len(text) for start, end in reading.places)
    pairs = zip(reading.pieces, reading.places, strict=True)
    spotted = [at for piece, at in pairs if "kill" in " ".join(piece)]
    assert all(start <= text.index("k1ll") < end for start, end in spotted)
    assert spotted


def test_the_empty_text_can_be_read() -> None:
    reading = READER.read("")
    assert reading.pieces == (("",),)
    assert np.isfinite(reading.features).all()
