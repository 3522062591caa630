"""Kokoro's graph, cut in two so that a sentence can be heard before it is finished.

The model as packaged says a whole sentence at once. Nine tenths of its work is the last part, the generator, in which
a moment of sound depends on its neighbours alone, but for one thing: its instance norms take mean and variance over all
of the sentence. So there is a `front` (text → what the generator reads) and the generator twice: `own`, which takes
each norm's statistics from what it is given, as the model was made, and `fixed`, which is told them and therefore
gives the same sound whether it works on all of the sentence or on a piece. `learn` is `own` that also tells them.

Exact besides: a norm is one operator instead of nine, and a bias that the following norm takes away is not added.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

FRAMES = "frames"  # (1, 512, n): what the generator reads; n frames of 300 samples
HARMONICS = "harmonics"  # (1, 22, 60 n + 1): the voice's tone, as a spectrogram
STYLE, DURATION, AUDIO = "style", "duration", "audio"
MEAN, DEVIATION, VARIANCE = "mean", "deviation", "variance"  # (1, all channels of all norms, 1); deviation: 1/σ
EPSILON = 1e-5  # of the model's norms
_OF_FRAMES = "/decoder/decoder/decode.3/Div_4_output_0"
_OF_HARMONICS = "/decoder/decoder/generator/Concat_3_output_0"
_OF_DURATION = "/encoder/Clip_output_0"
_LAST_AXIS, _FLAT = "capibara6_last_axis", "capibara6_flat"


class UnknownGraph(Exception):
    """The model is not the one this was written for."""


@dataclass(frozen=True, slots=True)
class Graphs:
    front: ModelProto
    own: ModelProto
    fixed: ModelProto
    learn: ModelProto


def cut(model: ModelProto) -> Graphs:
    """Raises UnknownGraph for a model whose parts are not where they should be."""
    _rename(model.graph, {_OF_FRAMES: FRAMES, _OF_HARMONICS: HARMONICS})
    model.graph.node.append(helper.make_node("Identity", [_OF_DURATION], [DURATION]))
    model.graph.initializer.append(helper.make_tensor(_FLAT, TensorProto.INT64, [1], [-1]))
    _fuse(model.graph)
    front = _part(model, ["tokens", STYLE, "speed"], [FRAMES, HARMONICS, DURATION])
    own = _part(model, [FRAMES, HARMONICS, STYLE], [AUDIO])
    learn, sizes = _learning(own)
    return Graphs(front, own, _fixed(own, sizes), learn)


@dataclass(frozen=True, slots=True)
class _Norm:
    """The nodes that take a norm of `read` (written out), up to `of`, the quotient."""

    read: str
    nodes: tuple[NodeProto, ...]
    of: str


def _fuse(graph: GraphProto) -> None:
    """`(x - mean) / σ * gamma + beta` becomes InstanceNormalization, where gamma and beta belong to one norm alone."""
    readers, writers = _readers(graph), _writers(graph)
    dead: list[NodeProto] = []
    instead: dict[int, list[NodeProto]] = {}
    for norm in list(_norms(graph)):
        users = readers[norm.of]
        if len(users) != 1 or users[0].op_type != "Mul":
            continue  # several blocks read it, each with a gamma of its own
        times = users[0]
        plus = readers[times.output[0]][0]
        gamma, beta, name = _other(times, norm.of), _other(plus, times.output[0]), plus.output[0]
        flat = [f"{name}/gamma", f"{name}/beta"]
        instead[id(plus)] = [
            helper.make_node("Reshape", [gamma, _FLAT], [flat[0]]),
            helper.make_node("Reshape", [beta, _FLAT], [flat[1]]),
            helper.make_node("InstanceNormalization", [norm.read, *flat], [name], name=name, epsilon=EPSILON),
        ]
        dead += [*norm.nodes, times, plus]
        dead += _needless_bias(norm.read, readers, writers)
    _replace(graph, dead, instead)


def _needless_bias(read: str, readers: dict[str, list[NodeProto]], writers: dict[str, NodeProto]) -> list[NodeProto]:
    """A quantised convolution's bias before a norm: the norm takes the mean away, and the bias with it."""
    scale = writers[read]
    cast = writers.get(scale.input[0]) if scale.op_type == "Mul" else None
    bias = writers.get(cast.input[0]) if cast is not None and cast.op_type == "Cast" else None
    if cast is None or bias is None or bias.op_type != "Add" or writers[bias.input[0]].op_type != "ConvInteger":
        return []
    if any(reader.op_type not in {"ReduceMean", "Sub"} for reader in readers[read]):
        return []
    cast.input[0] = bias.input[0]
    return [bias]


def _norms(graph: GraphProto) -> Iterator[_Norm]:
    readers = _readers(graph)
    for mean in graph.node:
        if mean.op_type != "ReduceMean" or len(readers[mean.output[0]]) != 1:
            continue
        centred = readers[mean.output[0]][0]
        if centred.op_type != "Sub" or centred.input[0] != mean.input[0]:
            continue
        of = centred.output[0]
        squares = [one for one in readers[of] if one.op_type == "Mul" and list(one.input) == [of, of]]
        if len(squares) != 1:
            continue
        chain = [mean, centred, squares[0]]
        for wanted in ("ReduceMean", "Add", "Sqrt", "Div"):
            following = readers[chain[-1].output[0]]
            if len(following) != 1 or following[0].op_type != wanted:
                break
            chain.append(following[0])
        else:
            yield _Norm(mean.input[0], tuple(chain), chain[-1].output[0])


def _sites(graph: GraphProto) -> list[tuple[str, tuple[NodeProto, ...]]]:
    """The generator's norms, in order: what each reads, and its nodes (one, where it was fused)."""
    found = {id(norm.nodes[0]): (norm.read, norm.nodes) for norm in _norms(graph)}
    sites: list[tuple[str, tuple[NodeProto, ...]]] = []
    for node in graph.node:
        if node.op_type == "InstanceNormalization":
            sites.append((node.input[0], (node,)))
        elif id(node) in found:
            sites.append(found[id(node)])
    if not sites:
        raise UnknownGraph("Kokoro's generator has no norms where they were looked for")
    return sites


def _learning(own: ModelProto) -> tuple[ModelProto, list[int]]:
    """The generator that also tells its norms' statistics, and the channels of each norm."""
    learn = ModelProto()
    learn.CopyFrom(own)
    graph = learn.graph
    graph.initializer.append(helper.make_tensor(_LAST_AXIS, TensorProto.INT64, [1], [-1]))
    means, variances = [], []
    for place, (read, _) in enumerate(_sites(graph)):
        mean, centred, variance = (f"capibara6/{word}/{place}" for word in ("mean", "centred", "variance"))
        graph.node.extend(
            [
                helper.make_node("ReduceMean", [read, _LAST_AXIS], [mean]),
                helper.make_node("Sub", [read, mean], [centred]),
                helper.make_node("Mul", [centred, centred], [f"{centred}/square"]),
                helper.make_node("ReduceMean", [f"{centred}/square", _LAST_AXIS], [variance]),
            ]
        )
        means.append(mean)
        variances.append(variance)
    sizes = _channels(learn, means)
    graph.node.append(helper.make_node("Concat", means, [MEAN], axis=1))
    graph.node.append(helper.make_node("Concat", variances, [VARIANCE], axis=1))
    graph.output.extend([_value(MEAN), _value(VARIANCE)])
    return learn, sizes


def _channels(learn: ModelProto, means: list[str]) -> list[int]:
    """How many each norm has, by having it work on next to nothing."""
    asked = ModelProto()
    asked.CopyFrom(learn)
    del asked.graph.output[:]
    asked.graph.output.extend(_value(name) for name in means)
    session = onnxruntime.InferenceSession(asked.SerializeToString(), providers=["CPUExecutionProvider"])
    frames = 16
    given = {
        FRAMES: np.zeros((1, 512, frames), np.float32),
        HARMONICS: np.zeros((1, 22, 60 * frames + 1), np.float32),
        STYLE: np.zeros((1, 256), np.float32),
    }
    return [one.shape[1] for one in session.run(means, given)]


def _fixed(own: ModelProto, sizes: list[int]) -> ModelProto:
    """The generator whose norms are told their statistics: each is then a product and a sum."""
    fixed = ModelProto()
    fixed.CopyFrom(own)
    graph = fixed.graph
    writers = _writers(graph)
    dead: list[NodeProto] = []
    instead: dict[int, list[NodeProto]] = {}
    sites = _sites(graph)
    for place, (read, nodes) in enumerate(sites):
        mean, deviation = f"{MEAN}/{place}", f"{DEVIATION}/{place}"
        last = nodes[-1]
        if last.op_type == "InstanceNormalization":
            flat = [writers[last.input[1]], writers[last.input[2]]]
            gamma, beta = (one.input[0] for one in flat)  # (1, channels, 1), before they were flattened
            names = [f"capibara6/{word}/{place}" for word in ("slope", "shift", "rise", "scaled")]
            instead[id(last)] = [
                helper.make_node("Mul", [gamma, deviation], [names[0]]),
                helper.make_node("Mul", [mean, names[0]], [names[1]]),
                helper.make_node("Sub", [beta, names[1]], [names[2]]),
                helper.make_node("Mul", [read, names[0]], [names[3]]),
                helper.make_node("Add", [names[3], names[2]], [last.output[0]]),
            ]
            dead += [*flat, last]
        else:
            centred = f"capibara6/centred/{place}"
            instead[id(last)] = [
                helper.make_node("Sub", [read, mean], [centred]),
                helper.make_node("Mul", [centred, deviation], [last.output[0]]),
            ]
            dead += list(nodes)
    _replace(graph, dead, instead)
    graph.initializer.append(helper.make_tensor("capibara6_sizes", TensorProto.INT64, [len(sizes)], sizes))
    for name in (MEAN, DEVIATION):
        pieces = [f"{name}/{place}" for place in range(len(sites))]
        graph.node.insert(0, helper.make_node("Split", [name, "capibara6_sizes"], pieces, axis=1))
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, sum(sizes), 1]))
    return fixed


def _part(model: ModelProto, inputs: list[str], outputs: list[str]) -> ModelProto:
    known = {one.name for one in model.graph.value_info}
    model.graph.value_info.extend(_value(name) for name in (FRAMES, HARMONICS, DURATION) if name not in known)
    try:
        return onnx.utils.Extractor(model).extract_model(inputs, outputs)
    except (KeyError, ValueError) as error:
        raise UnknownGraph(f"Kokoro's graph has no {error}") from None


def _value(name: str) -> onnx.ValueInfoProto:
    shapes = {FRAMES: [1, 512, "n"], HARMONICS: [1, 22, "h"]}
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes.get(name))


def _rename(graph: GraphProto, names: dict[str, str]) -> None:
    seen = {output for node in graph.node for output in node.output}
    if missing := names.keys() - seen:
        raise UnknownGraph(f"Kokoro's graph has no {', '.join(sorted(missing))}")
    for node in graph.node:
        for side in (node.input, node.output):
            for place, name in enumerate(side):
                if name in names:
                    side[place] = names[name]


def _readers(graph: GraphProto) -> dict[str, list[NodeProto]]:
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            readers[name].append(node)
    return readers


def _writers(graph: GraphProto) -> dict[str, NodeProto]:
    return {name: node for node in graph.node for name in node.output}


def _other(node: NodeProto, name: str) -> str:
    return next(str(one) for one in node.input if one != name)


def _replace(graph: GraphProto, dead: Iterable[NodeProto], instead: dict[int, list[NodeProto]]) -> None:
    gone = {id(node) for node in dead}
    nodes: list[NodeProto] = []
    for node in graph.node:
        if id(node) in instead:
            nodes += instead[id(node)]
        elif id(node) not in gone:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
