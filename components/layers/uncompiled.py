"""torch's optimizers without its compiler."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar, cast

import torch
from torch import optim

Kind = TypeVar("Kind", bound=optim.Optimizer)

WRAPPED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def uncompiled(kind: type[Kind]) -> type[Kind]:
    """The same optimizer without what torch wraps around it for its compiler. Its first call would import that
    compiler, which takes a process as long as torch itself (2 s), and nothing here is compiled."""
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in WRAPPED}
    # One of the wrappers is also what keeps the update out of the graph of gradients.
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return cast("type[Kind]", type(kind.__name__, (kind,), methods))
