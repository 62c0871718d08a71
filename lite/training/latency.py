"""How long one text takes, against nothing but the encoder's int8 matrix products."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnxruntime
from gemma_guard_lite.model import Model
from onnx import TensorProto, helper, numpy_helper

TOKENS = 128
ROUNDS = 2_000
_SHAPES = ((384, 384), (384, 384), (384, 384), (384, 384), (384, 1536), (1536, 384))
_LAYERS = 6
_TEXT = (
    "I moved into the flat in March and the heating has never worked well. The landlord came "
    "twice, looked at the boiler and said that he would call somebody. Nobody has come so far, "
    "and the nights are getting colder again. My neighbour has the same boiler and hers was "
    "repaired within a week. Could you help me write a polite letter that asks for a date? It "
    "should mention that I have always paid the rent on time. Please keep it short, friendly "
    "and clear, and add a sentence about the law on repairs. I would also like to know what I "
    "can do if he does not answer at all."
)


def latencies(model: Model) -> dict[str, float]:
    """Medians in milliseconds on one core, both timed turn by turn in the same run."""
    text = _TEXT  # 124 word pieces in eight sentences
    bare = bare_products()
    whole, products = [], []
    for _ in range(ROUNDS):
        model.forget()
        whole.append(_timed(lambda: model.prompt(text)))
        products.append(_timed(bare))
    ours, theirs = float(np.median(whole)) * 1e3, float(np.median(products)) * 1e3
    return {
        "p50 of 128 tokens, ms": round(ours, 2),
        "bare int8 products, ms": round(theirs, 2),
        "ratio": round(ours / theirs, 2),
    }


def _timed(work: Callable[[], object]) -> float:
    """Seconds on the processor: what other processes take of it does not count."""
    began = time.process_time()
    work()
    return time.process_time() - began


def bare_products() -> Callable[[], object]:
    """MatMulInteger of every weight of the encoder, on one thread."""
    draw = np.random.default_rng(0)
    nodes, weights, outputs = [], [], []
    for number, (rows, columns) in enumerate(_SHAPES * _LAYERS):
        values = draw.integers(-63, 64, (rows, columns)).astype(np.int8)
        weights.append(numpy_helper.from_array(values, f"w{number}"))
        nodes.append(helper.make_node("MatMulInteger", [f"x{rows}", f"w{number}"], [f"y{number}"]))
        shape = [1, TOKENS, columns]
        outputs.append(helper.make_tensor_value_info(f"y{number}", TensorProto.INT32, shape))
    inputs = {f"x{k}": draw.integers(0, 256, (1, TOKENS, k)).astype(np.uint8) for k in (384, 1536)}
    told = [helper.make_tensor_value_info(k, TensorProto.UINT8, v.shape) for k, v in inputs.items()]
    graph = helper.make_graph(nodes, "products", told, outputs, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=providers)
    return lambda: session.run(None, inputs)
