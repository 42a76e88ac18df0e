"""From the file to checked parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.errors import ParamsError
from components.params.checks import check
from components.params.sections import Params
from components.params.typed import FILE, typed


def load(root: Path) -> Params:
    """Reads and checks `params.yaml` in `root`, hyper-parameters of the strategies included.

    Raises ParamsError, naming the key, the value and the choices.
    """
    import yaml

    path = root / FILE
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"there is no {FILE} in {root.resolve()}: run graft in the project's folder") from None
    except yaml.YAMLError as error:
        raise ParamsError(f"{FILE} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ParamsError(f"{FILE} must hold sections, but holds {type(raw).__name__}")
    return parse(raw)


def parse(raw: dict[str, Any]) -> Params:
    """The checked parameters of an already loaded file."""
    params = typed(Params, raw, prefix="")
    check(params)
    return params
