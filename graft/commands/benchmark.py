"""graft benchmark: how fast a bundle is on this machine, by every route, and how right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from components import jsonfile, paths
from components.errors import DataError, ParamsError
from graft import champion
from graft.console import console, grid, milliseconds

if TYPE_CHECKING:
    from components.speed.measurement import Material

MOST = 256
"""Images of a folder that are answered."""
Bundle = Annotated[Path, typer.Argument(help="A bundle's folder.")]


def benchmark(
    bundle: Bundle = paths.CHAMPION,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of images to answer; else the workspace's test images.", show_default=False),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Spent on each row of the table.")] = 1.0,
    batch_sizes: Annotated[str, typer.Option(help="With commas between them.")] = "1,32",
    threads: Annotated[
        int | None, typer.Option(help="Of everything that is measured; else all cores.", show_default=False)
    ] = None,
    providers: Annotated[str, typer.Option(help="auto, or of cpu, openvino, cuda, tensorrt.")] = "auto",
    torch_compile: Annotated[bool, typer.Option("--torch-compile", help="Compare with torch.compile too.")] = False,
    as_json: Annotated[
        Path | None, typer.Option("--json", help="Write all that was found to a file.", show_default=False)
    ] = None,
) -> None:
    """Measure accuracy, latency, throughput and memory of a bundle by every route."""
    from components import machine
    from components.inference import selection
    from components.params import BenchmarkParams
    from components.speed import subjects
    from components.speed.measurement import Plan

    if seconds <= 0:
        raise ParamsError(f"--seconds is {seconds:g}, but must be positive")
    if threads is not None and threads < 1:
        raise ParamsError(f"--threads is {threads}, but must be at least 1")
    champion.require(bundle)
    facts = selection.read(bundle)
    material, about = _material(facts, images)
    trained, lacking = _trained(facts)
    sizes = _numbers(batch_sizes)
    plan = Plan(sizes, seconds, BenchmarkParams().min_speed_up, threads or machine.physical_cores())
    found = subjects.measured(
        bundle,
        material,
        plan,
        providers=tuple(providers.split(",")),
        trained=trained,
        torch_compile=torch_compile,
        say=lambda line: None,
    )
    out = console()
    out.print(times(found))
    out.print(routes(found, facts))
    for note in (_conditions(found), about, lacking):
        if note:
            out.print(Text(note))
    if as_json is not None:
        jsonfile.write(as_json, found)


def times(found: Mapping[str, Any]) -> Table:
    """Every route and reference at every batch size, at most 100 columns wide."""
    table = grid(
        "Time", "route", "batch", "p50 ms", "p95", "p99", "images/s", "from files", "CPU ms", "over torch",
        wide=("over torch",),
    )  # fmt: skip
    rows = [*found["measurements"], *found["references"]]
    from_files = {(row["route"], row["provider"], row["batch_size"]): row for row in rows if row["from"] == "files"}
    for row in rows:
        if row["from"] != "arrays":
            continue
        other = from_files[row["route"], row["provider"], row["batch_size"]]
        over = row.get("over_torch")
        table.add_row(
            row["route"],
            str(row["batch_size"]),
            *(milliseconds(row[f"latency{name}_ms"]) for name in ("", "_p95", "_p99")),
            f"{row['images_per_s']:,.0f}",
            f"{other['images_per_s']:,.0f}",
            milliseconds(row["cpu_ms_per_image"]),
            f"{_times(over['ratio'])} ({_times(over['low'])}-{_times(over['high'])})" if over else "",
        )
    return table


def routes(found: Mapping[str, Any], facts: Mapping[str, Any]) -> Table:
    """Every route once: how well it answers, what it takes, and whether it is worth shipping; those that were refused
    for their answers too. `facts`: bundle.json."""
    from components.reporting.verdicts import verdicts

    admission = facts.get("admission", {})
    table = grid("Routes", "route", "test %", "agree %", "MiB", "peak MiB", "cold s", "verdict", folded=("verdict",))
    rows = {row["route"]: row for row in found["measurements"]}
    for verdict in verdicts(found, facts):
        row, agreement = rows.get(verdict.route), admission.get(verdict.route, {}).get("agreement")
        accuracy = found["accuracy"].get(verdict.route)
        measured = (
            [f"{row['size_mib']:.2f}", f"{row['peak_mib']:.0f}", f"{row['cold_start_s']:.2f}"] if row else ["", "", ""]
        )
        table.add_row(
            verdict.route,
            "" if accuracy is None else f"{100 * accuracy:.1f}",
            "" if agreement is None else f"{100 * agreement:.1f}",
            *measured,
            Text(f"{verdict.kind}: {verdict.reason}", style="red" if verdict.kind == "refused" else ""),
        )
    return table


def _conditions(found: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    cores = "1 thread" if found["threads"] == 1 else f"{found['threads']} threads"
    return (
        f"{found['machine']}; {versions}; {cores}; all in turns in one run, over torch with 95 % intervals"
        f"{' of CPU time' if found['threads'] == 1 else ''}."
    )


def _material(facts: Mapping[str, Any], folder: Path | None) -> tuple[Material, str]:
    """The images to answer, and a sentence about them."""
    import numpy as np

    from components.data import images as decoding
    from components.inference.folder import find
    from components.speed.measurement import Material
    from components.types import TASK, Preprocess

    preprocess = Preprocess.from_dict(facts["preprocess"])
    if folder is None:
        from components.data import prepared
        from components.speed import subjects

        if not paths.PREPARED.exists():
            raise DataError(f"there are no test images at {paths.PREPARED}: give a folder of images by --images")
        data = prepared.read(paths.PREPARED)
        side = data.target.pixels.shape[1]
        if list(data.label_space.classes[TASK]) != list(facts["classes"][TASK]) or side != preprocess.resize:
            raise DataError(
                f"the images at {paths.PREPARED} are not this bundle's: give a folder of images by --images"
            )
        return subjects.material(data), ""
    found = [path for path, _ in zip(find([folder]), range(MOST), strict=False)]
    if not found:
        raise ParamsError(f"there are no images below {folder}")
    side = preprocess.resize
    contents = [decoding.file_content(path) for path in found]
    arrays = [
        decoding.pixels(
            content, resize=side, size=side, interpolation=preprocess.interpolation, origin=decoding.printable(path)
        )[0]
        for content, path in zip(contents, found, strict=True)
    ]
    return (
        Material(np.stack(arrays), contents),
        f"{len(found)} images of {folder}; nobody says what they show, so no accuracy is known.",
    )


def _trained(facts: Mapping[str, Any]) -> tuple[Path | None, str]:
    """The folder of the model that the bundle was exported from, if it and torch are here; else why not."""
    import importlib.util

    folder = paths.MODELS / facts["strategy"]
    if importlib.util.find_spec("torch") is None:
        return None, "torch is not installed, so there is nothing of it to compare with: pip install 'graft[train]'."
    about = folder / "model.json"
    if not about.exists() or jsonfile.read(about).get("weights_sha256") != facts["lineage"]["weights_sha256"]:
        return None, f"{folder} does not hold the model that this bundle was exported from, so torch has none to run."
    return folder, ""


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise ParamsError(f"--batch-sizes is {text!r}, but must be whole numbers with commas between them") from None
    if min(numbers) < 1:
        raise ParamsError(f"--batch-sizes is {text!r}, but each must be at least 1")
    return numbers


def _times(value: float) -> str:
    return f"{value:.{2 if value < 9.995 else 1}f}"
