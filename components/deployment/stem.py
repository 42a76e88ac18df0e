"""A network's first convolution, rewritten to read blocks of 2 x 2 pixels.

With a stride of 2 every output reads whole blocks, so a kernel of 7 x 7 x 3 over pixels is one of 4 x 4 x 12 over
blocks, in which a row of zeros fills up the eighth: the same sums, in another order. Integer kernels gather what a
kernel covers before they multiply, three bytes at a time where there are three channels: in 8 bits that gathering is
the stem's cost, a fifth of a ResNet-18's, and blocks halve it.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

BLOCK = 2
CHANNELS = 4
"""From here on a pixel is as good as a block."""


def in_blocks(network: onnx.ModelProto) -> onnx.ModelProto:
    """The network with the convolutions of its input reading blocks, where they go by steps of 2, over an image of few
    channels and even sides."""
    model = onnx.ModelProto()
    model.CopyFrom(network)
    graph = model.graph
    _, channels, *sides = (dimension.dim_value for dimension in graph.input[0].type.tensor_type.shape.dim)
    if channels > CHANNELS or any(side == 0 or side % BLOCK for side in sides):
        return model
    image, blocks = graph.input[0].name, f"{graph.input[0].name}_blocks"
    arrays = {array.name: array for array in graph.initializer}
    stems = [node for node in graph.node if node.op_type == "Conv" and node.input[0] == image and _steps(node, arrays)]
    for node in stems:
        weights = arrays[node.input[1]]
        pads = _attributes(node).get("pads", [0, 0, 0, 0])
        kernel, before = _blocks(numpy_helper.to_array(weights), pads[0])
        # Of the padding behind the image, as much as the last output needs.
        last = [(side + 2 * pads[0] - weights.dims[2]) // BLOCK for side in sides]
        after = [output + kernel.shape[2] - before - side // BLOCK for output, side in zip(last, sides, strict=True)]
        name = f"{weights.name}_blocks"
        if name not in arrays:
            graph.initializer.append(numpy_helper.from_array(kernel, name))
            arrays[name] = graph.initializer[-1]
        node.input[0], node.input[1] = blocks, name
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("pads", [before, before, *after]))
    if stems:
        graph.node.insert(0, helper.make_node("SpaceToDepth", [image], [blocks], name=blocks, blocksize=BLOCK))
    return model


def _attributes(node: NodeProto) -> dict:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _steps(node: NodeProto, arrays: dict[str, onnx.TensorProto]) -> bool:
    """Whether a convolution with constant weights goes by steps of a block, and does nothing unusual else."""
    found = _attributes(node)
    pads = found.get("pads", [0, 0, 0, 0])
    return (
        node.input[1] in arrays
        and list(found.get("strides", ())) == [BLOCK, BLOCK]
        and set(found.get("dilations", ())) <= {1}
        and found.get("group", 1) == 1
        and found.get("auto_pad", b"NOTSET") == b"NOTSET"
        and len(set(pads)) == 1
        and arrays[node.input[1]].dims[2] == arrays[node.input[1]].dims[3]
    )


def _blocks(kernel: np.ndarray, pad: int) -> tuple[np.ndarray, int]:
    """kernel [O, C, k, k] over pixels padded by `pad` -> the one over blocks [O, 4 C, k', k'], and its padding in
    blocks before the image."""
    outputs, channels, side, _ = kernel.shape
    front = pad % BLOCK
    blocks = -(-(side + front) // BLOCK)
    padded = np.zeros((outputs, channels, BLOCK * blocks, BLOCK * blocks), kernel.dtype)
    padded[:, :, front : front + side, front : front + side] = kernel
    split = padded.reshape(outputs, channels, blocks, BLOCK, blocks, BLOCK)
    # SpaceToDepth numbers its channels by row in the block, column in the block, channel of the pixel.
    return split.transpose(0, 3, 5, 1, 2, 4).reshape(outputs, -1, blocks, blocks), (pad + front) // BLOCK
