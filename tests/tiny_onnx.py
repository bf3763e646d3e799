"""Tiny ONNX graphs, written as protobuf messages by hand: the ``onnx`` package is not needed to test what runs them."""

import struct

import numpy as np

KINDS = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "bool": 9, "float16": 10, "float64": 11}
BFLOAT16 = 16


def _varint(value):
    value &= (1 << 64) - 1
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def _field(number, value):
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    return _varint(number << 3) + _varint(value)


def kind_of(dtype):
    return BFLOAT16 if dtype == "bfloat16" else KINDS[np.dtype(dtype).name]


def tensor(name, array, external=None):
    """A TensorProto; ``external`` is (file name, offset) where its bytes lie elsewhere."""
    array = np.asarray(array)
    out = (
        b"".join(_field(1, side) for side in array.shape) + _field(2, kind_of(array.dtype)) + _field(8, name)
    )
    if external is None:
        return out + _field(9, array.tobytes())
    entries = dict(location=external[0], offset=str(external[1]), length=str(array.nbytes))
    entries = b"".join(_field(13, _field(1, key) + _field(2, value)) for key, value in entries.items())
    return out + entries + _field(14, 1)


def node(kind, inputs, outputs, **attributes):
    """A NodeProto with attributes that are whole numbers, floats, lists of whole numbers or TensorProtos."""
    out = b"".join(_field(1, name) for name in inputs) + b"".join(_field(2, name) for name in outputs)
    out += _field(4, kind)
    for name, value in attributes.items():
        if isinstance(value, bytes):
            content = _field(5, value) + _field(20, 4)
        elif isinstance(value, list):
            content = b"".join(_field(8, number) for number in value) + _field(20, 7)
        elif isinstance(value, float):
            content = _field(2, value) + _field(20, 1)
        else:
            content = _field(3, value) + _field(20, 2)
        out += _field(5, _field(1, name) + content)
    return out


def port(name, dtype, shape):
    """A ValueInfoProto; a side is a number or a name, and None as a whole leaves the shape open."""
    sides = [_field(1, _field(2, s) if isinstance(s, str) else _field(1, s)) for s in shape or ()]
    kind = _field(1, kind_of(dtype)) + (b"" if shape is None else _field(2, b"".join(sides)))
    return _field(1, name) + _field(2, _field(1, kind))


def write_graph(path, nodes, tensors, inputs, outputs):
    """A ModelProto of opset 13."""
    graph = (
        b"".join(_field(1, one) for one in nodes) + _field(2, "g") + b"".join(_field(5, t) for t in tensors)
    )
    graph += b"".join(_field(11, one) for one in inputs) + b"".join(_field(12, one) for one in outputs)
    path.write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 13)))
    return path


def write_constant(path, outputs, dtype="float32", shape=(1, 3, 64, 64), declared=None):
    """A graph that gives the same arrays whatever it is shown.

    Args:
        path: of the file.
        outputs: name -> array.
        dtype, shape: of the input ``images``.
        declared: name -> shape that the graph says of an output, where it is not the array's.
    """
    nodes, tensors = [node("Cast", ["images"], ["seen"], to=kind_of("float32"))], []
    nodes.append(node("ReduceMean", ["seen"], ["mean"], keepdims=0))
    nodes += [node("Cast", ["mean"], ["number"], to=kind_of("int64"))]
    tensors.append(tensor("nothing", np.int64(0)))
    nodes += [node("Mul", ["number", "nothing"], ["zero"])]
    for name, array in outputs.items():
        array = np.asarray(array)
        nodes.append(node("Cast", ["zero"], [f"{name}_zero"], to=kind_of(array.dtype)))
        nodes.append(node("Add", [f"{name}_constant", f"{name}_zero"], [name]))
        tensors.append(tensor(f"{name}_constant", array))
    ports = [port(k, np.asarray(a).dtype, (declared or {}).get(k, np.shape(a))) for k, a in outputs.items()]
    return write_graph(path, nodes, tensors, [port("images", dtype, shape)], ports)


def write_seeing(
    path, dtype="float32", shape=("n", 3, 64, 64), layout="nchw", first_alone=False, index=False
):
    """A graph that sees: an image's scores are the means of its channels, its box lies at 16 to 48.

    Args:
        path: of the file.
        dtype, shape, layout: of the input ``images``.
        first_alone: gives the rows of the first image of a batch alone.
        index: gives (M, 7), rows ``image, x1, y1, x2, y2, class, score`` of the images whose first channel is not
            black; else (B, 1, 4 + C), rows ``cx, cy, w, h, scores``.
    """
    tensors = [tensor("0", np.array([0])), tensor("1", np.array([1]))]
    nodes = [
        node("Cast", ["images"], ["seen"], to=kind_of("float32")),
        node("ReduceMean", ["seen"], ["all"], axes=[2, 3] if layout == "nchw" else [1, 2], keepdims=0),
        node("Slice", ["all", "0", "1"], ["means"]) if first_alone else node("Identity", ["all"], ["means"]),
        *(_indexed(tensors) if index else _dense(tensors)),
    ]
    rows = ("m", 7) if index else (1 if first_alone else shape[0], 1, "k")
    return write_graph(path, nodes, tensors, [port("images", dtype, shape)], [port("rows", "float32", rows)])


def _dense(tensors):
    tensors.append(tensor("box", np.full((1, 4), 32, np.float32)))
    return [
        node("Shape", ["means"], ["sides"]),
        node("Slice", ["sides", "0", "1"], ["count"]),
        node("Concat", ["count", "1"], ["repeats"], axis=0),
        node("Tile", ["box", "repeats"], ["boxes"]),
        node("Concat", ["boxes", "means"], ["flat"], axis=1),
        node("Unsqueeze", ["flat", "1"], ["rows"]),
    ]


def _indexed(tensors):
    tensors += [tensor("box", np.float32([[16, 16, 48, 48, 0]])), tensor("black", np.float32(0))]
    tensors += [tensor("flat", np.array([-1]))]
    return [
        node("Slice", ["means", "0", "1", "1"], ["column"]),
        node("Reshape", ["column", "flat"], ["scores"]),
        node("Greater", ["scores", "black"], ["lit"]),
        node("NonZero", ["lit"], ["where"]),
        node("Squeeze", ["where", "0"], ["index"]),
        node("Gather", ["scores", "index"], ["kept"], axis=0),
        node("Unsqueeze", ["kept", "1"], ["score_column"]),
        node("Cast", ["index"], ["index_float"], to=kind_of("float32")),
        node("Unsqueeze", ["index_float", "1"], ["index_column"]),
        node("Shape", ["kept"], ["number"]),
        node("Concat", ["number", "1"], ["repeats"], axis=0),
        node("Tile", ["box", "repeats"], ["boxes"]),
        node("Concat", ["index_column", "boxes", "score_column"], ["rows"], axis=1),
    ]
