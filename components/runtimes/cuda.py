"""Sessions on a GPU: the providers' options, and a session that keeps its buffers on the device.

Three things cost more there than the arithmetic of a small network: copying from memory that the driver must first
copy for itself (so images are uploaded as uint8 out of pinned memory, into a buffer that stays), launching every kernel
on its own (so a batch size is captured once as a CUDA graph and then replayed), and looking for the best convolution
again for every new shape (so there are few shapes: a batch is padded to the next of BUCKETS).
"""

from __future__ import annotations

import ctypes
import math
import mmap
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from components.errors import DataError, MachineError

BUCKETS = (1, 2, 4, 8, 16, 32, 64)
IMAGE = "image"
TURN = threading.RLock()
"""Of all that sessions with CUDA graphs do on the device, their making and their end included. While a thread captures,
what CUDA calls potentially unsafe (allocating, copying, freeing) fails in every other thread, and so does the capture:
onnxruntime captures with cudaStreamCaptureModeGlobal, in each thread anew. There are two such sessions at once while a
server replaces its model."""
NO_GRAPH = "-1"  # onnxruntime's word for a run that is neither captured nor replayed


def cuda_options(precision: str, *, fixed: bool, graphs: bool, nhwc: bool | None = None) -> dict[str, str]:
    """What the CUDA provider is told. Nothing that matters for speed is left to a default.

    `fixed`: there are few shapes, so the exhaustive search for a convolution's algorithm is worth its time (0.6 s a
    shape); the heuristic one asks cuDNN instead. The provider's third choice, DEFAULT, has been 4 to 50 times slower.
    `nhwc`: channels last, the layout of the tensor cores; None is where fp16 is asked for. TF32 is off: fp32 means
    fp32, and TF32 would keep ten bits of it.
    """
    prefer_nhwc = precision == "fp16" if nhwc is None else nhwc
    return {
        "cudnn_conv_algo_search": "EXHAUSTIVE" if fixed else "HEURISTIC",
        "cudnn_conv_use_max_workspace": "1",
        "use_tf32": "0",
        "prefer_nhwc": str(int(prefer_nhwc)),
        "arena_extend_strategy": "kSameAsRequested",
        "do_copy_in_default_stream": "1",
        "enable_cuda_graph": str(int(graphs)),
    }


def tensorrt_options(precision: str, engines: Path | None) -> dict[str, str]:
    """What the TensorRT provider is told. `engines`: folder of this model's engines for this GPU, whose building takes
    minutes. Int8 takes its ranges from the file's own QuantizeLinear nodes, and what they leave out is computed in
    fp16."""
    options = {
        "trt_fp16_enable": str(int(precision in ("fp16", "int8"))),
        "trt_int8_enable": str(int(precision == "int8")),
    }
    if engines is not None:
        for kind in ("engine", "timing"):
            options |= {f"trt_{kind}_cache_enable": "1", f"trt_{kind}_cache_path": str(engines)}
    return options


def verify(session: onnxruntime.InferenceSession, provider: str, asked: Mapping[str, str]) -> None:
    """Raises MachineError where a provider does not run with the options that it was given."""
    used = session.get_provider_options().get(provider, {})
    for name, value in asked.items():
        if used.get(name) != value:
            raise MachineError(f"{provider} runs with {name} {used.get(name)!r}, where {value!r} was asked for")


@dataclass
class Bucket:
    """The buffers of one batch size. `host`: uint8 [size, S, S, 3], from which `image` on the device is filled."""

    size: int
    host: np.ndarray
    image: onnxruntime.OrtValue
    binding: onnxruntime.IOBinding
    outputs: dict[str, onnxruntime.OrtValue] = field(default_factory=dict)


class BoundSession:
    """A session for images of one size, `native` pixels square, whose inputs and outputs stay in place.

    `device`: "cuda", or "cpu" for the same steps without a GPU. `graphs`: whether the session captures CUDA graphs.
    A batch size is warmed when it is first used, or by `warm`. Calls take turns: there is one set of buffers, and a GPU
    answers one call at a time anyway. With graphs, all sessions that have them take turns.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        provider: str,
        native: int,
        *,
        device: str = "cuda",
        graphs: bool = False,
        buckets: Sequence[int] = BUCKETS,
    ) -> None:
        self._turn = TURN if graphs else threading.RLock()
        self._buffers: dict[int, Bucket] = {}
        self.session = session
        names = [given.name for given in session.get_inputs()]
        if names != [IMAGE]:
            raise DataError(f"only graphs whose one input is {IMAGE!r} are bound to a device, but this has {names}")
        self.provider = provider
        self.native = native
        self.device = device
        self.graphs = graphs
        self.buckets = tuple(sorted(buckets))
        self.outputs: tuple[str, ...] = tuple(output.name for output in session.get_outputs())
        self.metadata: dict[str, str] = dict(session.get_modelmeta().custom_metadata_map)

    def __del__(self) -> None:
        with self._turn:
            self._buffers.clear()
            del self.session

    def run(self, feed: Mapping[str, np.ndarray], names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """`image` uint8 [B, S, S, 3] -> the outputs asked for, or all, by name. Raises DataError for another shape."""
        images = feed[IMAGE]
        wanted = list(self.outputs if names is None else names)
        expected = (self.native, self.native, 3)
        if images.dtype != np.uint8 or images.shape[1:] != expected or not len(images):
            raise DataError(
                f"this session takes uint8 images [B, {', '.join(map(str, expected))}], not {images.dtype} "
                f"{list(images.shape)}"
            )
        with self._turn:
            parts = [self._answer(images[place], wanted) for place in chunks(len(images), self.buckets[-1])]
        return {name: np.concatenate([part[name] for part in parts]) for name in wanted}

    def warm(self, sizes: Sequence[int] | None = None) -> None:
        """Allocates, searches and captures for these batch sizes, or for all, the largest first: TensorRT then builds
        its engine for the whole range in two steps."""
        with self._turn:
            for size in sorted(sizes or self.buckets, reverse=True):
                self._bucket(fitting(size, self.buckets))

    def _answer(self, images: np.ndarray, wanted: Sequence[str]) -> dict[str, np.ndarray]:
        count = len(images)
        bucket = self._bucket(fitting(count, self.buckets))
        bucket.host[:count] = images
        bucket.image.update_inplace(bucket.host)
        self._launch(bucket, self._graph(bucket.size))
        return {name: np.array(bucket.outputs[name].numpy()[:count]) for name in wanted}

    def launch(self, size: int) -> None:
        """Answers what lies in the buffers of a bucket, and waits for it: the work of the device alone."""
        with self._turn:
            bucket = self._bucket(size)
            self._launch(bucket, self._graph(size))

    def _launch(self, bucket: Bucket, graph: str) -> None:
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("gpu_graph_id", graph)
        self.session.run_with_iobinding(bucket.binding, options)

    def _graph(self, size: int) -> str:
        return str(size) if self.graphs else NO_GRAPH

    def _bucket(self, size: int) -> Bucket:
        if size not in self._buffers:
            self._buffers[size] = self._prepare(size)
        return self._buffers[size]

    def _prepare(self, size: int) -> Bucket:
        shape = [size, self.native, self.native, 3]
        host = pinned(shape) if self.device == "cuda" else np.zeros(shape, np.uint8)
        image = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, self.device, 0)
        image.update_inplace(host)
        bucket = Bucket(size, host, image, self.session.io_binding())
        bucket.binding.bind_ortvalue_input(IMAGE, image)
        for name in self.outputs:
            bucket.binding.bind_output(name, self.device)
        self._launch(bucket, NO_GRAPH)  # onnxruntime allocates the outputs, and so says how large they are
        found: list[Any] = bucket.binding.get_outputs()
        for name, value in zip(self.outputs, found, strict=True):
            bucket.outputs[name] = value
            bucket.binding.bind_ortvalue_output(name, value)
        if self.graphs:
            self._launch(bucket, str(size))
        return bucket


def fitting(count: int, buckets: Sequence[int]) -> int:
    """The smallest bucket that holds so many images; the largest where none does."""
    return next((size for size in buckets if size >= count), buckets[-1])


def chunks(count: int, most: int) -> Iterator[slice]:
    """[0, count) in pieces of at most `most`."""
    for start in range(0, count, most):
        yield slice(start, min(start + most, count))


def pinned(shape: Sequence[int]) -> np.ndarray:
    """uint8 zeros in memory that the GPU fetches from directly, in pages of their own; released with the array.

    Raises MachineError when CUDA refuses.
    """
    pages = np.frombuffer(mmap.mmap(-1, math.prod(shape)), np.uint8)
    major = str(onnxruntime.cuda_version).partition(".")[0]
    try:
        runtime = ctypes.CDLL(f"libcudart.so.{major}")  # the one that the CUDA provider has loaded
    except OSError as error:
        raise MachineError(f"pinned memory needs the CUDA runtime: {error}") from None
    address = ctypes.c_void_p(pages.ctypes.data)
    code = runtime.cudaHostRegister(address, ctypes.c_size_t(pages.nbytes), ctypes.c_uint(0))
    if code:
        raise MachineError(f"CUDA refuses to pin {pages.nbytes} bytes of memory: cudaHostRegister returns {code}")
    weakref.finalize(pages, runtime.cudaHostUnregister, address)
    return pages.reshape(shape)
