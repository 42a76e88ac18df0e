"""From raw pixels to a network's input, as nodes of an ONNX graph, step for step what training did: see
`components.data.images.fit`.

An image that has the stored size already is cut, turned and scaled, and nothing else. The question is asked of the
image's shape alone, so a session that is told height and width when it loads answers it there, and no branch is left:
the CUDA provider's graphs can be captured, and OpenVINO, whose Resize knows no antialias, never comes to it.
"""

from __future__ import annotations

from onnx import GraphProto, NodeProto, parser

from components.types import Preprocess

RESIZE = {
    "bilinear": 'mode = "linear", antialias = 1, exclude_outside = 1',
    "bicubic": 'mode = "cubic", cubic_coeff_a = -0.5, antialias = 1, exclude_outside = 1',
}
"""Attributes of Resize that do what Pillow does under that name. Without `exclude_outside` the weights that reach over
the edge would be given to the outermost pixel: 20 grey levels and more at the border of a picture with hard edges."""
WHITE = 255.0


def nodes(preprocess: Preprocess, *, image: str, output: str) -> list[NodeProto]:
    """`image`: name of a value uint8 [batch, height, width, 3]; `output`: of the float [batch, 3, size, size] to make.

    onnxruntime folds a shape only where every dimension is known, and the batch's is not: so height and width are
    those of a batch of no images. (OpenVINO takes an empty constant for a single number, so the list of no images is
    cut out of another.) Like Pillow, Resize goes over the width first, then over the height, and makes whole numbers
    from 0 to 255 of the pixels each time: "bicubic" overshoots at hard edges, and what is cut off in between would be
    up to 30 grey levels at the end. The middle is the stored square's middle, and that the image's, as training cuts
    them: at once, it would lie a pixel beside it where `resize` and `size` differ by an odd number.
    """
    size, resize = preprocess.size, preprocess.resize
    low, high = (resize - size) // 2, (resize - size) // 2 + size
    cut = (
        ""
        if size == resize
        else f"""
                from = Constant <value = int64[2] {{{low}, {low}}}> ()
                to = Constant <value = int64[2] {{{high}, {high}}}> ()
                sides_axes = Constant <value = int64[2] {{1, 2}}> ()
                cut = Slice (image, from, to, sides_axes)"""
    )
    factor = [1 / (WHITE * std) for std in preprocess.std]
    offset = [-mean / std for mean, std in zip(preprocess.mean, preprocess.std, strict=True)]
    text = f"""
    preprocess (uint8[batch, height, width, 3] image) => (float[batch, 3, {size}, {size}] normalised)
    {{
        first_image = Constant <value = int64[1] {{0}}> ()
        nothing = Slice (first_image, first_image, first_image)
        no_image = Gather <axis = 0> (image, nothing)
        sides = Shape <start = 1, end = 3> (no_image)
        stored = Constant <value = int64[2] {{{resize}, {resize}}}> ()
        side_is_stored = Equal (sides, stored)
        side_is_stored_int = Cast <to = 6> (side_is_stored)
        is_stored_int = ReduceMin <keepdims = 0> (side_is_stored_int)
        is_stored = Cast <to = 9> (is_stored_int)
        square = If (is_stored) <
            then_branch = stored () => (uint8[batch, 3, {size}, {size}] kept)
            {{{cut}
                kept = Transpose <perm = [0, 3, 1, 2]> ({"cut" if cut else "image"})
            }},
            else_branch = other () => (uint8[batch, 3, {size}, {size}] fitted)
            {{
                black = Constant <value = float {{0.0}}> ()
                white = Constant <value = float {{{WHITE}}}> ()
                zero = Constant <value = int64[1] {{0}}> ()
                one = Constant <value = int64[1] {{1}}> ()
                two = Constant <value = int64[1] {{2}}> ()
                pixels = Cast <to = 1> (image)
                planes = Transpose <perm = [0, 3, 1, 2]> (pixels)
                sides_float = Cast <to = 1> (sides)
                shorter = ReduceMin <keepdims = 1> (sides_float)
                resize = Constant <value = float[1] {{{resize}.0}}> ()
                scale = Div (resize, shorter)
                scaled = Mul (sides_float, scale)
                rounded_sides = Round (scaled)
                whole_sides = Cast <to = 7> (rounded_sides)
                size = Constant <value = int64[1] {{{size}}}> ()
                new_sides = Max (whole_sides, size)
                batch_and_channels = Shape <start = 0, end = 2> (planes)
                height_now = Slice (sides, zero, one)
                width = Slice (new_sides, one, two)
                wide_shape = Concat <axis = 0> (batch_and_channels, height_now, width)
                wide = Resize <{RESIZE[preprocess.interpolation]}> (planes, , , wide_shape)
                wide_within = Clip (wide, black, white)
                wide_whole = Round (wide_within)
                new_shape = Concat <axis = 0> (batch_and_channels, new_sides)
                resized = Resize <{RESIZE[preprocess.interpolation]}> (wide_whole, , , new_shape)
                within = Clip (resized, black, white)
                whole = Round (within)
                spare = Sub (new_sides, stored)
                square_start = Div (spare, two)
                within_square = Constant <value = int64[1] {{{low}}}> ()
                start = Add (square_start, within_square)
                end = Add (start, size)
                axes = Constant <value = int64[2] {{2, 3}}> ()
                middle = Slice (whole, start, end, axes)
                fitted = Cast <to = 2> (middle)
            }}
        >
        square_float = Cast <to = 1> (square)
        factor = Constant <value = float[1, 3, 1, 1] {{{_numbers(factor)}}}> ()
        offset = Constant <value = float[1, 3, 1, 1] {{{_numbers(offset)}}}> ()
        in_units = Mul (square_float, factor)
        normalised = Add (in_units, offset)
    }}
    """
    graph = parser.parse_graph(text)
    _rename(graph, {"image": image, "normalised": output})
    return list(graph.node)


def _rename(graph: GraphProto, names: dict[str, str]) -> None:
    """Every value gets a name that no network has, in branches too; every node that of its value."""

    def new(name: str) -> str:
        return names.get(name, f"preprocess_{name}") if name else ""

    for node in graph.node:
        node.input[:] = [new(name) for name in node.input]
        node.output[:] = [new(name) for name in node.output]
        node.name = node.output[0]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, names)
    for value in graph.output:
        value.name = new(value.name)


def _numbers(values: list[float]) -> str:
    return ", ".join(repr(float(value)) for value in values)
