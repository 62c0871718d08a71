"""Columns on disk hold what was put in, however often and whenever they are read."""

from __future__ import annotations

import numpy as np

from gemma_guard.evaluate.spilled import Ordered, Spilled


def test_a_column_reads_back_bit_for_bit_between_rows_that_are_added() -> None:
    table, draw = Spilled({"number": "q", "score": "d", "label": "b"}), np.random.default_rng(1)
    scores = [*draw.random(20_000).tolist(), float("nan"), 0.1 + 0.2]
    for number, score in enumerate(scores):
        table.append(number, score, -1)
        if number % 9_000 == 0:
            assert len(table.column("score")) == number + 1

    assert table.column("score").tobytes() == np.array(scores).tobytes()
    assert (table.column("label") == -1).all()


def test_columns_come_in_the_order_asked_for_under_their_own_names() -> None:
    table = Spilled({"violation a": "d", "violation b": "d"})
    for row in ((0.1, 0.4), (0.2, 0.5), (0.3, 0.6)):
        table.append(*row)
    columns = Ordered(table, np.array([2, 0, 1]), {"a": "violation a", "b": "violation b"})

    assert {name: column.tolist() for name, column in columns.items()} == {
        "a": [0.3, 0.1, 0.2],
        "b": [0.6, 0.4, 0.5],
    }
