"""Which providers this machine has, and what is missing where one does not load.

onnxruntime lists the CUDA and TensorRT providers of its own package even where they cannot load, and importing OpenVINO
says nothing about a GPU: so each is asked for what it really needs.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import io
from pathlib import Path

from components import machine
from components.errors import MachineError, choices
from components.runtimes.routes import FILES

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""Our name -> onnxruntime's. OpenVINO is not among them: it runs the ONNX file by itself."""

DRIVER = "libcuda.so.1"
SHARED = "libonnxruntime_providers_shared.so"
LIBRARIES = {"cuda": "libonnxruntime_providers_cuda.so", "tensorrt": "libonnxruntime_providers_tensorrt.so"}


def resolve(provider: str) -> str:
    """A provider's name for what was asked for: "auto" is CUDA on a machine with an NVIDIA GPU, else the CPU.

    Raises MachineError for a name that is not known.
    """
    if provider == "auto":
        return "cuda" if machine.gpus() else "cpu"
    if provider not in FILES:
        raise MachineError(f"provider {provider!r} is not known; {choices(provider, ['auto', *FILES])}")
    return provider


def present() -> list[str]:
    """The providers that this machine has: "cpu" always, "openvino" where it is installed, "cuda" where there is an
    NVIDIA GPU (if its libraries do not load that is an error to see, not a reason to leave it out), "tensorrt" where
    its libraries load as well."""
    found = ["cpu"]
    if importlib.util.find_spec("openvino"):
        found.append("openvino")
    if machine.gpus():
        found.append("cuda")
        if missing("tensorrt") is None:
            found.append("tensorrt")
    return found


def missing(provider: str) -> str | None:
    """What a provider lacks on this machine and how to get it, as the end of a sentence; None when it has all.

    For CUDA and TensorRT the dynamic linker is asked, by loading onnxruntime's own provider library: it names the first
    library that is not found, whichever versions this onnxruntime was built for.
    """
    if provider == "openvino" and importlib.util.find_spec("openvino") is None:
        return "the package 'openvino' is not installed: pip install 'graft[openvino]'"
    if provider not in LIBRARIES:
        return None
    return _driver() or _libraries(provider)


def _driver() -> str | None:
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return (
            f"{DRIVER} is missing, which comes with the NVIDIA driver: install the driver, and start a container with "
            "access to the GPU (docker run --gpus all)"
        )
    code = driver.cuInit(0)
    return f"the NVIDIA driver finds no GPU to use (cuInit returns {code})" if code else None


def _libraries(provider: str) -> str | None:
    import onnxruntime

    binaries = Path(onnxruntime.__file__).parent / "capi"
    if not (binaries / LIBRARIES[provider]).is_file():
        return f"onnxruntime {onnxruntime.__version__} is installed without it: install onnxruntime-gpu in its place"
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find; the linker says it below
            onnxruntime.preload_dlls()  # finds the CUDA libraries that pip installed
    if provider == "tensorrt":
        _load_tensorrt()
    wanted = [binaries / SHARED, binaries / LIBRARIES[provider], "libcudnn.so.9"]  # cuDNN is only loaded when needed
    for library in wanted:
        try:
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL if library == binaries / SHARED else ctypes.DEFAULT_MODE)
        except OSError as error:
            name = str(error).partition(":")[0]
            return f"{Path(name).name} is missing: {_remedy(name, onnxruntime.__version__)}"
    return None


def _remedy(library: str, version: str) -> str:
    if "nvinfer" in library or "nvonnxparser" in library:
        return "pip install tensorrt-cu13 (TensorRT 10), or add its folder to LD_LIBRARY_PATH"
    return f"pip install 'onnxruntime-gpu[cuda,cudnn]=={version}'"


def _load_tensorrt() -> None:
    """Those that pip installed lie where the linker does not look."""
    found = importlib.util.find_spec("tensorrt_libs")
    for folder in (found.submodule_search_locations or []) if found else []:
        for name in ("libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10"):
            with contextlib.suppress(OSError):
                ctypes.CDLL(str(Path(folder) / name), mode=ctypes.RTLD_GLOBAL)
