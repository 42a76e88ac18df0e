"""Repeats published experiments with Graft's own strategies and writes docs/results.md.

    GRAFT_DATA=/path/to/data python -m benchmarks.reproduce mnist_usps
    GRAFT_DATA=/path/to/data python -m benchmarks.reproduce                      every protocol
    python -m benchmarks.reproduce --render                                      the page alone, from what is stored

What a seed gave is stored as soon as it is there, so a run that was interrupted goes on with the next seed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.reproduce import protocol, runs
from components import jsonfile, machine
from components.errors import DataError, GraftError, MachineError, ParamsError, choices
from components.lineage import versions

ROOT = Path(__file__).resolve().parents[2]
HEAD = """# Published results, repeated

Written by `python -m benchmarks.reproduce --render` from `docs/results/*.json`; do not edit.

A figure is the mean over seeds ± half the 95 % t-interval of that mean. Goals were set before the runs. To repeat one:
`GRAFT_DATA=<folder> make reproduce NAME=<name>`.
"""


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reproduce", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", nargs="?", help=f"one of: {', '.join(protocol.PROTOCOLS)}; all when left out")
    parser.add_argument("--seeds", help="for example 0,1,2; the protocol's own when left out")
    parser.add_argument("--workers", type=int, default=1, help="seeds that run at once, each in a process of its own")
    parser.add_argument("--fresh", action="store_true", help="run again what is stored")
    parser.add_argument("--render", action="store_true", help="only write the page")
    given = parser.parse_args(arguments)
    try:
        if given.name is not None and given.name not in protocol.PROTOCOLS:
            raise ParamsError(f"{given.name!r} is no protocol; {choices(given.name, protocol.PROTOCOLS)}")
        if not given.render:
            seeds = _seeds(given.seeds)
            for name in [given.name] if given.name else protocol.PROTOCOLS:
                reproduce(name, root, seeds=seeds, workers=given.workers, fresh=given.fresh)
        jsonfile.write_text(root / "docs/results.md", render(root))
    except GraftError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _seeds(text: str | None) -> tuple[int, ...] | None:
    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ParamsError(f"--seeds is {text!r}, but whole numbers with commas between are needed") from None


def data_folder() -> Path:
    """The folder that GRAFT_DATA names. Raises MachineError when there is none."""
    given = os.environ.get("GRAFT_DATA", "")
    if not given:
        raise MachineError("GRAFT_DATA is not set: it must name the folder with the data of the experiments")
    if not Path(given).is_dir():
        raise MachineError(f"GRAFT_DATA is {given!r}, but there is no such folder")
    return Path(given)


def reproduce(name: str, root: Path, *, seeds: tuple[int, ...] | None, workers: int, fresh: bool) -> None:
    """Runs what is not stored yet of one protocol's seeds, and stores it seed by seed."""
    # Before torch is imported: it reads this once. Every worker is to have its share of the cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, machine.physical_cores() // max(1, workers))))
    data = data_folder()
    module = _module(name)
    missing = [file for file in getattr(module, "FILES", ()) if not (data / file).exists()]
    if missing:
        raise DataError(f"{name} needs {', '.join(missing)} in {data} (GRAFT_DATA)")
    path = root / f"docs/results/{name}.json"
    code = protocol.code_of(Path(str(module.__file__)).read_text(encoding="utf-8"))
    stored = {} if fresh else _stored(path, code, set(module.ROWS))
    todo = [seed for seed in seeds or module.SEEDS if str(seed) not in stored.get("seeds", {})]
    if not todo:
        print(f"{name}: every seed is stored in {path.relative_to(root)}; --fresh runs them again")
        return
    before, start = stored.get("wall_s", 0.0), time.perf_counter()
    found: dict[str, Any] = stored.get("seeds", {})
    print(f"{name}: seeds {', '.join(map(str, todo))}", flush=True)
    for seed, values, seconds, cpu_s in runs.answers(protocol.PROTOCOLS[name], data, todo, workers):
        if set(values) != set(module.ROWS):
            raise DataError(f"{name} gave {sorted(values)} for seed {seed}, but its rows are {sorted(module.ROWS)}")
        found[str(seed)] = {
            "values": {key: float(values[key]) for key in module.ROWS},
            "seconds": round(seconds, 1),
            "cpu_s": round(cpu_s, 1),
        }
        jsonfile.write(
            path,
            {
                "protocol": name,
                "command": f"GRAFT_DATA=<folder> python -m benchmarks.reproduce {name}"
                + (f" --seeds {','.join(map(str, seeds))}" if seeds else "")
                + (f" --workers {workers}" if workers != 1 else ""),
                "code": code,
                "machine": machine.describe(),
                "threads": os.environ["OMP_NUM_THREADS"],
                "versions": versions("torch", "torchvision", "numpy"),
                "date": datetime.now(UTC).date().isoformat(),
                "wall_s": round(before + time.perf_counter() - start, 1),
                "seeds": {seed: found[seed] for seed in sorted(found, key=int)},
            },
        )
        figures = ", ".join(f"{key} {value:.4g}" for key, value in values.items())
        print(f"{name}: seed {seed} in {seconds:.0f} s: {figures}", flush=True)


def _module(name: str) -> Any:
    path = protocol.PROTOCOLS[name]
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        raise MachineError(f"the protocol {name!r} has no module {path}") from None


def _stored(path: Path, code: str, rows: set[str]) -> dict[str, Any]:
    """What a run of the same code has stored, seeds with other rows left out; {} otherwise."""
    if not path.exists() or (content := jsonfile.read(path)).get("code") != code:
        return {}
    kept = {seed: entry for seed, entry in content["seeds"].items() if set(entry["values"]) == rows}
    return {**content, "seeds": kept} if kept else {}


def render(root: Path) -> str:
    """The page: every protocol that has stored figures, in the order of `PROTOCOLS`."""
    parts = [HEAD]
    for name in protocol.PROTOCOLS:
        path = root / f"docs/results/{name}.json"
        if path.exists():
            parts.append(_section(_module(name), jsonfile.read(path)))
    return "\n".join(parts)


def _section(module: Any, content: dict[str, Any]) -> str:
    rows: dict[str, protocol.Row] = module.ROWS
    entries = list(content["seeds"].values())
    if any(set(entry["values"]) != set(rows) for entry in entries):
        return f"## {module.TITLE}\n\nThe stored figures are of other rows than the protocol has now: run it again.\n"
    values = {key: [entry["values"][key] for entry in entries] for key in rows}
    lines = [
        f'<a id="{content["protocol"]}"></a>\n',
        f"## {module.TITLE}\n",
        f"{_paragraphs(module.PROTOCOL)}\n",
        "| method | setting | metric | published (source) | ours | goal | met? |",
        "|---|---|---|---|--:|--:|---|",
    ]
    for key, row in rows.items():
        published = row.published if row.source in ("", "-") else f"{row.published} ({row.source})"
        verdict = {True: "yes", False: "**no**", None: "-"}[protocol.met(row.goal, key, values)]
        cells = (row.method, row.setting, row.metric, published, str(protocol.mean(values[key])), _words(row, rows))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in (*cells, verdict)) + " |")
    each = f"{_duration(sum(entry['seconds'] for entry in entries) / len(entries))} for each seed"
    if all("cpu_s" in entry for entry in entries):
        each += f" ({_duration(sum(entry['cpu_s'] for entry in entries) / len(entries))} of processor time)"
    installed = ", ".join(f"{package} {version}" for package, version in content["versions"].items())
    lines += [
        f"\nWall time {_duration(content['wall_s'])} in all, {each}, on {content['threads']} thread(s); "
        f"{content['machine']}; {installed}; {content['date']}.\n",
        f"`{content['command']}`\n",
    ]
    if getattr(module, "NOTES", ""):
        lines.append(f"{_paragraphs(module.NOTES)}\n")
    return "\n".join(lines)


def _words(row: protocol.Row, rows: dict[str, protocol.Row]) -> str:
    """The goal with the method and setting of the row that it names in place of its key."""
    for key, other in rows.items():
        if key in row.goal.split():
            place = "" if other.setting == row.setting else f", {other.setting}"
            return " ".join(f"{other.method}{place}" if word == key else word for word in row.goal.split())
    return row.goal


def _paragraphs(text: str) -> str:
    """Source lines joined; a blank line still parts paragraphs."""
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


if __name__ == "__main__":
    sys.exit(main())
