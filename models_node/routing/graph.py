"""The encoder's lower layers as an ONNX graph with 8-bit weights, for ONNX Runtime on any CPU.

Built by hand, once a start (under a second), with the operators that ONNX Runtime runs fastest; no export, no torch.
In: the summed word, position and type embeddings, (1, tokens, hidden) float32. Out: mean and standard deviation over
the tokens of the hidden states after each tapped layer, (1, 2 x taps x hidden). Middle layers tell the kind of
question better than the last one, which was trained to match passages (docs/routing.md has the figures), so the layers
above the last tap are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models_node.routing.packaged import Floats, PackagedEncoder

RUNTIME = "com.microsoft"  # ONNX Runtime's own operators
OPSET, IR_VERSION = 18, 10
# 7 bits, not 8: AVX2 machines without VNNI add pairs of products in 16 bits, which 8-bit weights overflow.
LARGEST_WEIGHT = 63
INPUT, OUTPUT = "embeddings", "features"


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm: scale and shift of each hidden value, and what is added to the variance."""

    scale: Floats
    shift: Floats
    epsilon: float


def norm_of(encoder: PackagedEncoder, name: str) -> Norm:
    return Norm(encoder.vector(f"{name}.w"), encoder.vector(f"{name}.b"), encoder.dimensions.epsilon)


def serialised_graph(encoder: PackagedEncoder, taps: Sequence[int]) -> bytes:
    """The graph up to the last of `taps` (numbers of layers, from 1), as ONNX Runtime loads it."""
    graph = _Graph()
    dimensions = encoder.dimensions
    hidden = graph.normalised(INPUT, norm_of(encoder, "emb.ln"))
    pooled: list[str] = []
    for layer in range(max(taps)):
        hidden = _layer(graph, encoder, layer, hidden)
        if layer + 1 in taps:
            pooled += graph.pooled(hidden, f"tap{layer + 1}")
    graph.node("Concat", pooled, OUTPUT, axis=-1)
    width = 2 * len(taps) * dimensions.hidden
    proto = helper.make_graph(
        graph.nodes,
        "encoder",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, "tokens", dimensions.hidden])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, width])],
        graph.initializers,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(RUNTIME, 1)]
    return bytes(helper.make_model(proto, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString())


def _layer(graph: _Graph, encoder: PackagedEncoder, number: int, hidden: str) -> str:
    """One BERT layer; returns the name of its output."""
    sizes, name = encoder.dimensions, f"l{number}"
    width, inner = sizes.hidden, sizes.intermediate

    def weights(part: str, rows: int, columns: int) -> tuple[Floats, Floats]:
        return encoder.matrix(f"{name}.{part}.w", rows, columns), encoder.vector(f"{name}.{part}.b")

    parts = [weights(part, width, width) for part in ("q", "k", "v")]
    joined = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    graph.linear(hidden, *joined, f"{name}.qkv")
    thirds = [f"{name}.q", f"{name}.k", f"{name}.v"]
    graph.node("Split", [f"{name}.qkv"], thirds, axis=-1, num_outputs=3)
    graph.node("MultiHeadAttention", thirds, f"{name}.attention", domain=RUNTIME, num_heads=sizes.heads)
    graph.linear(f"{name}.attention", *weights("ao", width, width), f"{name}.attended")
    between = graph.added(hidden, f"{name}.attended", norm_of(encoder, f"{name}.aln"), f"{name}.between")
    graph.linear(between, *weights("fi", inner, width), f"{name}.inner")
    graph.node("Gelu", [f"{name}.inner"], f"{name}.activated", domain=RUNTIME)
    graph.linear(f"{name}.activated", *weights("fo", width, inner), f"{name}.outer")
    return graph.added(between, f"{name}.outer", norm_of(encoder, f"{name}.oln"), f"{name}.out")


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, operator: str, inputs: Sequence[str], outputs: str | Sequence[str], **attributes: object) -> None:
        names = [outputs] if isinstance(outputs, str) else list(outputs)
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=names[0], **attributes))

    def linear(self, inputs: str, weights: Floats, bias: Floats, name: str) -> None:
        """inputs x weights^T + bias, the weights in 8 bits by output, the inputs quantised as they come."""
        scales = np.maximum(np.abs(weights).max(axis=1), 1e-12) / LARGEST_WEIGHT
        rounded = np.round(weights / scales[:, None]).astype(np.int8)
        arguments = [
            inputs,
            self.constant(f"{name}.weights", rounded.T),
            self.constant(f"{name}.scales", scales.astype(np.float32)),
            self.constant(f"{name}.zeros", np.zeros(len(scales), np.int8)),
            self.constant(f"{name}.bias", bias),
        ]
        self.node("DynamicQuantizeMatMul", arguments, name, domain=RUNTIME)

    def normalised(self, inputs: str, norm: Norm) -> str:
        constants = [self.constant("first.scale", norm.scale), self.constant("first.shift", norm.shift)]
        self.node("LayerNormalization", [inputs, *constants], "first", axis=-1, epsilon=norm.epsilon)
        return "first"

    def added(self, one: str, other: str, norm: Norm, name: str) -> str:
        """Layer norm of the sum of both."""
        constants = [self.constant(f"{name}.scale", norm.scale), self.constant(f"{name}.shift", norm.shift)]
        self.node("SkipLayerNormalization", [one, other, *constants], name, domain=RUNTIME, epsilon=norm.epsilon)
        return name

    def pooled(self, hidden: str, name: str) -> list[str]:
        """Mean and standard deviation over the tokens, each (1, hidden)."""
        axis = self.constant(f"{name}.axis", np.array([1], np.int64))
        self.node("ReduceMean", [hidden, axis], f"{name}.kept", keepdims=1)
        self.node("Sub", [hidden, f"{name}.kept"], f"{name}.apart")
        self.node("Mul", [f"{name}.apart", f"{name}.apart"], f"{name}.squares")
        self.node("ReduceMean", [f"{name}.squares", axis], f"{name}.variance", keepdims=0)
        self.node("Sqrt", [f"{name}.variance"], f"{name}.deviation")
        self.node("ReduceMean", [hidden, axis], f"{name}.mean", keepdims=0)
        return [f"{name}.mean", f"{name}.deviation"]
