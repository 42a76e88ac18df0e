"""Who competes, set from the command line.

It is written into params.yaml, because a result must follow from files: a run whose competitors only the command line
knew could be repeated neither by `dvc repro` nor from its commit.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

from components import jsonfile
from components import params as parameters
from components.strategies import catalogue

ALL = "all"


def choose(root: Path, names: str) -> str:
    """Sets `compare` and `students` of params.yaml to `names` (with commas between them, or "all" for every entry of
    `strategies`), everything else in the file left as it is; returns what to tell. Raises ParamsError, and leaves the
    file alone, when they cannot compete."""
    params = parameters.load(root)
    wanted = list(params.strategies) if names == ALL else [name.strip() for name in names.split(",") if name.strip()]
    students = [name for name in wanted if name in params.strategies and _has_teacher(params, name)]
    compare = [name for name in wanted if name not in students]
    if (tuple(compare), tuple(students)) == (params.compare, params.students):
        return f"{parameters.FILE} compares these {len(wanted)} already."
    parameters.check(replace(params, compare=tuple(compare), students=tuple(students)))

    from ruamel.yaml import YAML

    yaml = YAML()  # keeps comments, which PyYAML does not
    yaml.width = 120
    path = root / parameters.FILE
    document: Any = yaml.load(path.read_text(encoding="utf-8"))
    for section, chosen in (("compare", compare), ("students", students)):
        document[section][:] = chosen  # in place: a new list would lose the comment beside the old one
    text = io.StringIO()
    yaml.dump(document, text)
    jsonfile.write_text(path, text.getvalue())
    return f"{parameters.FILE} now compares {len(wanted)}: {', '.join(wanted)}."


def _has_teacher(params: parameters.Params, name: str) -> bool:
    competitor = params.competitor(name)
    return catalogue.TEACHER in catalogue.needs(competitor.strategy, competitor.hyper_parameters)
