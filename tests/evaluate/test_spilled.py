"""Columns on disk hold what was put in, however often, whenever and in whatever order."""

from __future__ import annotations

import numpy as np

from gemma_guard.evaluate.spilled import ByName, Spilled


def test_a_column_reads_back_bit_for_bit_between_rows_that_are_added() -> None:
    table, draw = Spilled({"number": "q", "score": "d", "label": "b"}), np.random.default_rng(1)
    scores = [*draw.random(20_000).tolist(), float("nan"), 0.1 + 0.2]
    for number, score in enumerate(scores):
        table.put(number, number, score, -1)
        if number % 9_000 == 0:
            assert len(table.column("score")) == number + 1

    assert table.column("score").tobytes() == np.array(scores).tobytes()
    assert (table.column("label") == -1).all()


def test_columns_come_by_place_under_their_own_names_without_the_places_left_free() -> None:
    table = Spilled({"violation a": "d", "violation b": "d"})
    for place, row in {30_000: (0.1, 0.4), 4: (0.2, 0.5), 5: (0.3, 0.6)}.items():
        table.put(place, *row)
    columns = ByName(table, {"a": "violation a", "b": "violation b"})

    assert {name: column.tolist() for name, column in columns.items()} == {
        "a": [0.2, 0.3, 0.1],
        "b": [0.5, 0.6, 0.4],
    }
