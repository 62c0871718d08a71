"""The encoder as one int8 ONNX graph, built by hand: states of two layers, pooled over spans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

MS = "com.microsoft"
HEADS = 12
EPSILON = 1e-12
LONGEST = 256
HALF_RANGE = 63
"""Seven bits: products of eight-bit weights overflow on processors without VNNI."""
Floats = NDArray[np.float32]


@dataclass(slots=True)
class Graph:
    """Nodes and weights gathered so far."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Keep `value` under `name`."""
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def node(
        self, kind: str, inputs: list[str], out: str, *, domain: str = "", **attributes: Any
    ) -> str:
        """Add a node with one output."""
        self.nodes.append(helper.make_node(kind, inputs, [out], domain=domain, **attributes))
        return out

    def linear(self, source: str, name: str, weight: Floats, bias: Floats) -> str:
        """`source` @ weight.T + bias with int8 weights, one scale per output."""
        scale = np.maximum(np.abs(weight).max(1), 1e-8) / HALF_RANGE
        int8 = np.round(weight / scale[:, None]).astype(np.int8).T
        inputs = [
            source,
            self.constant(f"{name}.int8", np.ascontiguousarray(int8)),
            self.constant(f"{name}.scale", scale.astype(np.float32)),
            self.constant(f"{name}.zero", np.zeros(len(scale), np.int8)),
            self.constant(f"{name}.bias", bias),
        ]
        return self.node("DynamicQuantizeMatMul", inputs, name, domain=MS)

    def normed_sum(
        self, first: str, second: str, name: str, w: Mapping[str, Floats], key: str
    ) -> str:
        """`first` + `second`, normalised."""
        total = self.node("Add", [first, second], f"{name}.sum")
        inputs = [
            total,
            self.constant(f"{name}.gamma", w[f"{key}.weight"]),
            self.constant(f"{name}.beta", w[f"{key}.bias"]),
        ]
        return self.node("LayerNormalization", inputs, name, epsilon=EPSILON)


def embedded(graph: Graph, w: Mapping[str, Floats]) -> str:
    """Word, position and type embeddings; the word table in int8, one scale per row."""
    table = w["embeddings.word_embeddings.weight"]
    scale = np.maximum(np.abs(table).max(1, keepdims=True), 1e-8) / 127
    graph.constant("words.int8", np.round(table / scale).astype(np.int8))
    graph.constant("words.scale", scale.astype(np.float32))
    rows = graph.node("Gather", ["words.int8", "ids"], "words.row")
    floats = graph.node("Cast", [rows], "words.float", to=TensorProto.FLOAT)
    scales = graph.node("Gather", ["words.scale", "ids"], "words.row_scale")
    word = graph.node("Mul", [floats, scales], "words")
    return graph.normed_sum(word, _positions(graph, w), "embedded", w, "embeddings.LayerNorm")


def _positions(graph: Graph, w: Mapping[str, Floats]) -> str:
    types = w["embeddings.token_type_embeddings.weight"][0]
    both = w["embeddings.position_embeddings.weight"][:LONGEST] + types
    graph.constant("positions.all", both[None])
    graph.constant("zero", np.array([0], np.int64))
    graph.constant("one", np.array([1], np.int64))
    shape = graph.node("Shape", ["ids"], "ids.shape")
    length = graph.node("Gather", [shape, "one"], "ids.length")
    return graph.node("Slice", ["positions.all", "zero", length, "one"], "positions")


def layer(graph: Graph, source: str, w: Mapping[str, Floats], number: int) -> str:
    """One transformer layer."""
    key, name = f"encoder.layer.{number}", f"layer{number}"
    parts = [f"{key}.attention.self.{part}" for part in ("query", "key", "value")]
    q, k, v = (
        graph.linear(source, f"{name}.{p[-3:]}", w[f"{p}.weight"], w[f"{p}.bias"]) for p in parts
    )
    mixed = graph.node("MultiHeadAttention", [q, k, v], f"{name}.mixed", domain=MS, num_heads=HEADS)
    out = _dense(graph, mixed, f"{name}.out", w, f"{key}.attention.output.dense")
    norm = f"{key}.attention.output.LayerNorm"
    attended = graph.normed_sum(out, source, f"{name}.attended", w, norm)
    wide = _dense(graph, attended, f"{name}.wide", w, f"{key}.intermediate.dense")
    bent = graph.node("Gelu", [wide], f"{name}.bent", domain=MS)
    narrow = _dense(graph, bent, f"{name}.narrow", w, f"{key}.output.dense")
    return graph.normed_sum(narrow, attended, name, w, f"{key}.output.LayerNorm")


def _dense(graph: Graph, source: str, name: str, w: Mapping[str, Floats], key: str) -> str:
    return graph.linear(source, name, w[f"{key}.weight"], w[f"{key}.bias"])


def encoder(w: Mapping[str, Floats], *, layers: tuple[int, ...]) -> onnx.ModelProto:
    """Ids [1, length], spans [count, length] → features: mean states of `layers`, in a row."""
    graph = Graph()
    states = [embedded(graph, w)]
    for number in range(6):
        states.append(layer(graph, states[-1], w, number))
    pooled = [_pooled(graph, states[number]) for number in layers]
    graph.node("Concat", pooled, "features", axis=-1)
    return _model(graph, 384 * len(layers))


def _pooled(graph: Graph, state: str) -> str:
    flat = graph.node("Squeeze", [state, "zero"], f"{state}.flat")
    return graph.node("MatMul", ["spans", flat], f"{state}.pooled")


def _model(graph: Graph, width: int) -> onnx.ModelProto:
    inputs = [
        helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "length"]),
        helper.make_tensor_value_info("spans", TensorProto.FLOAT, ["count", "length"]),
    ]
    outputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["count", width])]
    made = helper.make_graph(graph.nodes, "encoder", inputs, outputs, graph.weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MS, 1)]
    return helper.make_model(made, opset_imports=opsets, ir_version=8)
