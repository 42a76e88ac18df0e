"""A session of OpenVINO's own runtime on the ONNX file: on many CPUs the faster one, and the only one with bf16.

Its default precision on a CPU that has bf16 is bf16 even for a float model, so it is always told which to use. Its
cache of compiled models is not used: it saves a quarter of the start, and a file of it that was damaged on purpose gave
wrong answers without a word.
"""

from __future__ import annotations

import functools
import json
import queue
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components import machine
from components.errors import DataError, MachineError
from components.runtimes.options import DEFAULT, Options

HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""precision -> INFERENCE_PRECISION_HINT: what is not quantised in an int8 file is computed in fp32."""
CONVERTER = "openvino.tools.ovc"
ANY = -1


class OpenvinoSession:
    """`model`: file or content; see `session.open_session` for the rest.

    An image that comes alone is answered by a graph all of whose shapes are known, which takes a fifth to a third off a
    small network's time. The graph for any number of images is compiled when the first several arrive.
    """

    provider = "openvino"

    def __init__(
        self,
        model: bytes | Path,
        options: Options = DEFAULT,
        *,
        precision: str = "fp32",
        native: int | None = None,
    ) -> None:
        core: Any = _runtime().Core()
        self._core, self._native = core, native
        hint = HINTS[precision]
        if hint == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise MachineError(f"precision 'bf16' was asked for, but {machine.cpu_name()} does not compute in it")
        self._settings = {
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": options.threads or machine.physical_cores(),
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        try:
            graph = core.read_model(model)
            # By position from here on: compiling merges names, and may prefer one of a node inside.
            self.outputs: tuple[str, ...] = tuple(output.get_any_name() for output in graph.outputs)
            told: Mapping[str, str] = graph.get_rt_info(["framework"]).value if "framework" in graph.rt_info else {}
            self.metadata: dict[str, str] = dict(told)
            self._graph = graph.clone()  # by the time it is wanted, another model may lie at that path
            fixed = self._fix_size(graph, 1)
            first = _Compiled(core.compile_model(graph, "CPU", self._settings))
        except RuntimeError as error:
            what = model if isinstance(model, Path) else "the content given"
            raise DataError(f"{what} is not a model that OpenVINO can load: {_reason(error)}") from None
        used = first.model.get_property("INFERENCE_PRECISION_HINT").to_string()
        if used != hint:
            raise MachineError(f"OpenVINO computes in {used} here, where {hint} was asked for")
        self._types = {port.get_any_name(): np.dtype(port.element_type.to_dtype()) for port in first.model.inputs}
        self._single = first if fixed else None
        self._several = None if fixed else first
        self._compiling = threading.Lock()

    def _fix_size(self, graph: Any, images: int) -> bool:
        """Tells the graph the size of its images and how many come, where the size is known, and whether it was.

        Of the graph's one branch, on whether images have the stored size, takes the side where they have.

        On the other side it resizes with antialias, which OpenVINO leaves out without a word; and given a fixed size,
        it has been seen to choose that side wrongly by itself.
        """
        native = self._native
        branches = [node for node in graph.get_ops() if node.get_type_name() == "If"]
        if branches:
            from openvino import opset13

            stored = json.loads(self.metadata["graft"])["preprocess"]["resize"]
            if native not in (None, stored):
                raise MachineError(
                    f"provider 'openvino' cannot resize images as training did: it takes them at {stored} pixels, not "
                    f"{native}; give it those, or use 'cpu'"
                )
            native = stored
            for branch in branches:
                branch.input(0).replace_source_output(opset13.constant(True).output(0))
            graph.validate_nodes_and_infer_types()
        if native is None:
            return False
        graph.reshape({"image": [images, native, native, 3]})
        return True

    def run(self, feed: Mapping[str, np.ndarray], names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Raises DataError when the inputs are not what the model takes; OpenVINO itself would convert their type."""
        wanted = self.outputs if names is None else names
        given = {name: array.dtype for name, array in feed.items()}
        if given != self._types or not set(wanted) <= set(self.outputs):
            raise DataError(f"{self._takes()}, not {_described(feed)} for {', '.join(wanted)}")
        alone = self._single is not None and feed["image"].shape[:1] == (1,)
        compiled = self._single if alone else self._for_several()
        try:
            answers = compiled.run([feed[name] for name in self._types], [self.outputs.index(name) for name in wanted])
        except RuntimeError as error:
            raise DataError(f"{self._takes()}, not {_described(feed)}: {_reason(error)}") from None
        return dict(zip(wanted, answers, strict=True))

    def _for_several(self) -> _Compiled:
        with self._compiling:
            if self._several is None:
                self._fix_size(self._graph, ANY)
                self._several = _Compiled(self._core.compile_model(self._graph, "CPU", self._settings))
                del self._graph
            return self._several

    def _takes(self) -> str:
        model = self._for_several().model
        inputs = [f"{name} {kind} {model.input(name).partial_shape}" for name, kind in self._types.items()]
        return f"the model takes {', '.join(inputs)} and gives {', '.join(self.outputs)}"


class _Compiled:
    """A compiled graph. Each call borrows an infer request of its own, so that threads do not share buffers."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run(self, inputs: Sequence[np.ndarray], outputs: Sequence[int]) -> list[np.ndarray]:
        """The inputs in the graph's order -> the outputs at these places."""
        try:
            request = self._free.get_nowait()
        except queue.Empty:
            request = self.model.create_infer_request()
        try:
            # OpenVINO reads the arrays where they lie, so they must live as long as the call.
            arrays = [np.require(array, requirements=["C", "W"]) for array in inputs]
            for index, array in enumerate(arrays):
                request.set_input_tensor(index, _runtime().Tensor(array, shared_memory=True))
            request.infer()
            return [request.get_output_tensor(index).data.copy() for index in outputs]
        finally:
            self._free.put(request)


def _described(feed: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in feed.items()) or "nothing"


def _reason(error: RuntimeError) -> str:
    """The last line of OpenVINO's account, which starts with where in its source it happened."""
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "no reason given")


@functools.cache
def _runtime() -> Any:
    """The openvino package without its model converter, whose import reports the use of OpenVINO over the network."""
    blocked = CONVERTER not in sys.modules
    if blocked:
        sys.modules[CONVERTER] = None  # ty: ignore[invalid-assignment]  # Python's own way to say: not to be imported
    try:
        import openvino
    finally:
        if blocked:
            sys.modules.pop(CONVERTER, None)
    return openvino
