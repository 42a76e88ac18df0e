"""Cold start: the graph as onnxruntime optimised it on an earlier start, kept on this machine.

Half of a session's start is optimising the graph and copying its weights into the layout that this processor likes.
What comes out is good for this processor and this onnxruntime only, so it lies in a local cache and never in a bundle.
It is written in onnxruntime's own format, which is not parsed but mapped into memory: of the formats and settings
tried on a ResNet-18, that loads in the least time (7 ms, against 70 ms for an optimised ONNX file and 160 ms for the
original) and memory. There, the weights are used where they lie in the file, which is not where vector instructions
want them: convolutions in fp32 then take 1.2 times as long (one thread, ResNet-18 and a small net). So only who has a
few images to answer starts like that (`brief`); else they are copied out of it, which takes 20 ms and their size again.

A file's name is its key, which is made of the model's content and of everything else that shaped the graph, and a
checksum of its own content.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import onnxruntime

from components import local_cache, machine
from components.paths import external

BLOCK = 1 << 20


def open_cached(
    model: Path, settings: Callable[[], onnxruntime.SessionOptions], *, shaped_by: str, brief: bool = False
) -> onnxruntime.InferenceSession | None:
    """The session that `settings()` ask for on the CPU provider: from the cache when it is there, else built, and its
    graph left there. None where the cache can be neither read nor written, or the model is none: who asked opens it
    plainly.

    `shaped_by`: whatever in the settings shapes the graph, as text. `brief`: see above.
    """
    if external(model).exists():  # over 2 GB, which no file of the cache can hold
        return None
    try:
        place = local_cache.folder("optimised")
        key = key_of(model, shaped_by)
        found = _entry(place, key)
        if found is not None:
            session = _load(found, settings(), brief=brief)
            if session is not None:
                return session
            found.unlink()
        return _build(model, settings(), place, key)
    except (OSError, RuntimeError):  # a user without a home, as in some containers, is a RuntimeError
        return None


def key_of(model: bytes | Path, shaped_by: str) -> str:
    """Hexadecimal; the same for the same graph on the same kind of machine."""
    if isinstance(model, bytes):
        content = hashlib.sha256(model).hexdigest()
    else:
        digests = []
        for path in (model, external(model)):  # equal architectures have equal files where the weights lie beside them
            if path.exists():
                with path.open("rb") as stream:
                    digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
        content = " ".join(digests)
    parts = (content, onnxruntime.__version__, _processor(), shaped_by)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _entry(place: Path, key: str) -> Path | None:
    """The undamaged entry of this key, marked as used now."""
    for path in place.glob(f"{key}.*.ort"):
        if path.name == f"{key}.{_checksum(path)}.ort":
            os.utime(path)
            return path
        path.unlink()
    return None


def _load(entry: Path, settings: onnxruntime.SessionOptions, *, brief: bool) -> onnxruntime.InferenceSession | None:
    """None when it is damaged in a way that its checksum does not show: it was written so."""
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.add_session_config_entry("session.load_model_format", "ORT")
    settings.add_session_config_entry("session.use_memory_mapped_ort_model", "1")
    settings.add_session_config_entry("session.use_ort_model_bytes_for_initializers", str(int(brief)))
    try:
        return onnxruntime.InferenceSession(str(entry), settings, providers=["CPUExecutionProvider"])
    except Exception:  # onnxruntime's own exceptions share no base with anything
        return None


def _build(
    model: Path, settings: onnxruntime.SessionOptions, place: Path, key: str
) -> onnxruntime.InferenceSession | None:
    place.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(suffix=".part", dir=place)
    os.close(handle)
    unfinished = Path(name)
    settings.optimized_model_filepath = name
    settings.add_session_config_entry("session.save_model_format", "ORT")
    try:
        session = onnxruntime.InferenceSession(str(model), settings, providers=["CPUExecutionProvider"])
        unfinished.replace(place / f"{key}.{_checksum(unfinished)}.ort")
    except OSError:
        raise
    except Exception:  # of the model, over which the plain start stumbles too, or of the disk
        return None
    finally:
        unfinished.unlink(missing_ok=True)
    local_cache.prune(place, "*.ort")
    return session


def _checksum(path: Path) -> str:
    """CRC-32: against accidents, not against malice; it costs 15 ms where SHA-256 would cost 40."""
    value = 0
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            value = zlib.crc32(block, value)
    return f"{value:08x}"


def _processor() -> str:
    """What onnxruntime chooses kernels and layouts by."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{machine.cpu_name()} {flags}"
