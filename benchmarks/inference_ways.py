"""Everything that can answer an image on this machine's CPU, for `benchmarks.inference`: torch in its forms, and the
exported model on each of its routes. All take uint8 pixels and give logits, on one thread."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from components.backbones.build import build, preprocess_of
from components.data.streams import crop, normalise
from components.deployment import onnx_export, onnx_file
from components.deployment.candidates import int8_candidates
from components.deployment.onnx_export import INPUT
from components.params import ExportParams
from components.runtimes.options import Options
from components.runtimes.providers import present
from components.runtimes.routes import Route, routes
from components.runtimes.session import open_session
from components.speed import references
from components.strategies.fine_tune import FineTune
from components.types import TASK, LabelSpace, Preprocess

ONE_THREAD = Options(threads=1)
CALIBRATION_IMAGES = 32
"""For batch-norm and for int8. The weights are random, so only the time that the result takes matters."""
GEMM = 1024
"""Rows and columns of the product that stands for the processor's peak: large enough to reach it, and in the cache."""
TORCH, CHANNELS_LAST, BF16, COMPILED = "torch eager", "torch channels_last", "torch bf16 autocast", "torch.compile"
FP32, BARE = "fp32@cpu", "network alone"

Answer = Callable[[np.ndarray], np.ndarray]
"""uint8 [B, S, S, 3] -> logits [B, C]"""


@dataclass(frozen=True)
class Way:
    """`precision`: whose peak it is to be held against."""

    answer: Answer
    precision: str


@dataclass(frozen=True)
class Subject:
    """A network to measure. `model`: precision -> the whole graph's content; `bare`: the network on normalised images;
    `operations`: multiplications and additions of one image."""

    name: str
    strategy: FineTune
    model: dict[str, bytes]
    bare: bytes
    operations: int

    @property
    def preprocess(self) -> Preprocess:
        return self.strategy.backbone.preprocess


def subject(name: str, classes: int, size: int) -> Subject:
    """Of the backbone called so, fine-tuned in form alone: random weights whose batch-norm knows its activations."""
    torch.manual_seed(0)
    weights = "pretrain" if name == "small_resnet" else "DEFAULT"
    backbone = build(name, preprocess=preprocess_of(name, weights, size=size, interpolation="bilinear"))
    strategy = FineTune(backbone, LabelSpace({TASK: tuple(f"class {index}" for index in range(classes))}))
    images = normalised(pixels(CALIBRATION_IMAGES, size), backbone.preprocess)
    _calibrate_batch_norm(strategy, images)
    network = onnx_export.network(strategy, features=False)
    candidate = next(int8_candidates(network, images.numpy(), ExportParams(calibration_images=CALIBRATION_IMAGES)))
    model = {
        precision: onnx_file.content(
            onnx_export.assemble(
                graph,
                preprocess=backbone.preprocess,
                classes=strategy.label_space.classes,
                temperature=None,
                facts={},
            )
        )
        for precision, graph in {"fp32": network, "int8": candidate.model}.items()
    }
    return Subject(name, strategy, model, network.SerializeToString(), _operations(strategy, images[:1]))


def pixels(count: int, size: int) -> np.ndarray:
    """uint8 [count, size, size, 3]: soft shapes with some grain, which activate a network more evenly than noise."""
    generator = torch.Generator().manual_seed(0)
    shapes = nn.functional.interpolate(
        torch.rand(count, 3, 7, 7, generator=generator), size=(size, size), mode="bicubic"
    )
    grain = 0.05 * torch.randn(count, 3, size, size, generator=generator)
    return (255 * (shapes + grain).clamp(0, 1)).byte().permute(0, 2, 3, 1).contiguous().numpy()


def normalised(batch: np.ndarray, preprocess: Preprocess) -> Tensor:
    """uint8 [B, S, S, 3] -> float [B, 3, size, size] in the usual layout."""
    return normalise(crop(torch.from_numpy(batch), preprocess), preprocess).contiguous()


def ways(subject: Subject, *, compiled: bool) -> dict[str, Way]:
    """By name: torch's, then the routes that this machine has."""
    preprocess = subject.preprocess
    strategy = copy.deepcopy(subject.strategy).eval()
    last = copy.deepcopy(strategy).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def eager(batch: np.ndarray) -> np.ndarray:
        return strategy(normalised(batch, preprocess))[TASK].numpy()

    @torch.inference_mode()
    def channels_last(batch: np.ndarray) -> np.ndarray:
        return last(normalise(crop(torch.from_numpy(batch), preprocess), preprocess))[TASK].numpy()

    def bf16(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return last(normalise(crop(torch.from_numpy(batch), preprocess), preprocess))[TASK].float().numpy()

    found = {TORCH: Way(eager, "fp32"), CHANNELS_LAST: Way(channels_last, "fp32"), BF16: Way(bf16, "bf16")}
    if compiled:
        example = pixels(1, preprocess.resize)
        answer = references.compiled(copy.deepcopy(strategy), torch.device("cpu"), example)
        found[COMPILED] = Way(answer, "fp32")
    for provider in (name for name in present() if name in ("cpu", "openvino")):
        for route in routes(provider):
            found[str(route)] = Way(_session(subject.model[route.file], route, preprocess.resize), route.precision)
    return found


def bare(subject: Subject, batch: np.ndarray) -> Callable[[], object]:
    """The exported network on the CPU provider, given `batch` with its preprocessing done."""
    session = open_session(subject.bare, "cpu", ONE_THREAD)
    feed = {INPUT: normalised(batch, subject.preprocess).numpy()}
    name = f"{onnx_export.LOGITS}{TASK}"
    return lambda: session.run(feed, [name])


def peaks() -> dict[str, Callable[[], object]]:
    """precision -> one product of two square matrices in it, by whichever of torch and onnxruntime is good at it."""
    values = torch.randn(GEMM, GEMM)
    single, half = nn.Linear(GEMM, GEMM, bias=False), nn.Linear(GEMM, GEMM, bias=False).bfloat16()
    session = open_session(_integer_product().SerializeToString(), "cpu", ONE_THREAD)
    feed = {"x": (127 + 40 * values).clamp(0, 255).byte().numpy()}
    halves = values.bfloat16()

    def product(layer: nn.Module, factor: Tensor) -> Callable[[], object]:
        return torch.inference_mode()(lambda: layer(factor))

    return {"fp32": product(single, values), "bf16": product(half, halves), "int8": lambda: session.run(feed)}


def _session(content: bytes, route: Route, native: int) -> Answer:
    session = open_session(content, route.provider, ONE_THREAD, precision=route.precision, native=native)
    return lambda batch: session.run({"image": batch}, ["logits"])["logits"]


@torch.no_grad()
def _calibrate_batch_norm(strategy: FineTune, images: Tensor) -> None:
    """Gives every batch-norm the statistics of its inputs. Without that, activations grow or vanish with depth."""
    strategy.train()
    for module in strategy.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the average of all batches
        elif isinstance(module, nn.Dropout):
            module.p = 0.0
    for part in images.split(CALIBRATION_IMAGES // 2):
        strategy(part)
    strategy.eval()


@torch.no_grad()
def _operations(strategy: FineTune, image: Tensor) -> int:
    """Two for each product of a weight and an activation, in convolutions and linear layers."""
    counts: list[int] = []

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            counts.append(2 * output[0].numel() * module.weight[0].numel())
        elif isinstance(module, nn.Linear):
            counts.append(2 * output[0].numel() * module.in_features)

    hooks = [module.register_forward_hook(count) for module in strategy.modules()]
    strategy(image)
    for hook in hooks:
        hook.remove()
    return sum(counts)


def _integer_product() -> onnx.ModelProto:
    """x uint8 [GEMM, GEMM] times a constant int8 matrix, requantised to uint8, as in the middle of an int8 network."""
    weight = np.random.default_rng(0).integers(-127, 128, (GEMM, GEMM)).astype(np.int8)
    scale, rescale = np.float32(0.01), np.float32(0.3)
    constants = {"w": weight, "s": scale, "r": rescale, "zero": np.uint8(128), "none": np.int8(0)}
    node = helper.make_node("QLinearMatMul", ["x", "s", "zero", "w", "s", "none", "r", "zero"], ["y"])
    square = [GEMM, GEMM]
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, square)],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, square)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
