"""Everything about a module that its computation may depend on, but for the values of its parameters and buffers."""

from __future__ import annotations

import enum
import functools
import hashlib
import types
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

# What every module has: its parts, which are described one by one, and what only training asks.
PARTS = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
TRAINING = ("_backward_pre_hooks", "_backward_hooks", "_is_full_backward_hook", "_state_dict_hooks")
IGNORED = {*PARTS, *TRAINING, "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"}


class Indescribable(Exception):
    """Something in a module could be anything, such as a function made inside another."""


def describe(module: nn.Module) -> Any:
    """A JSON value: equal for two modules whose forward takes the same steps. It may differ for such modules, too, and
    does not mind. Raises Indescribable.

    Of parameters and buffers it holds names, shapes and types; of tensors that are neither, the content.
    """
    named = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    return _Describer({id(tensor): name for name, tensor in named}).of(module)


class _Describer:
    def __init__(self, weights: dict[int, str]) -> None:
        self.weights = weights
        self.seen: dict[int, int] = {}

    def of(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, str)):
            return value if not isinstance(value, enum.Enum) else repr(value)
        if isinstance(value, (float, complex, range, slice, torch.dtype, torch.device, torch.Size)):
            return [type(value).__name__, repr(value)]
        if isinstance(value, (Tensor, np.ndarray)):
            return self._array(value)
        if isinstance(value, (enum.Enum, fx.Graph, fx.Node)):
            return str(value)
        if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
            return _named(value)
        if isinstance(value, types.MethodType):
            return ["method", self.of(value.__self__), self.of(value.__func__)]
        if isinstance(value, functools.partial):
            return ["partial", self.of(value.func), self.of(value.args), self.of(value.keywords)]
        if isinstance(value, dict):
            return ["dict", *([self.of(key), self.of(entry)] for key, entry in value.items())]
        if isinstance(value, (list, tuple)):
            return [_named(type(value)), *(self.of(entry) for entry in value)]
        if isinstance(value, (set, frozenset)):
            return ["set", *sorted(str(self.of(entry)) for entry in value)]
        return self._object(value)

    def _array(self, value: Tensor | np.ndarray) -> Any:
        facts = [str(value.dtype), list(value.shape)]
        if id(value) in self.weights:
            return [self.weights[id(value)], *facts]
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        return [*facts, hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()]

    def _object(self, value: Any) -> Any:
        if id(value) in self.seen:
            return ["again", self.seen[id(value)]]
        self.seen[id(value)] = len(self.seen)
        own = getattr(value, "__dict__", None)
        if own is None or isinstance(value, types.ModuleType):
            raise Indescribable(f"a {type(value).__name__}")
        fields = {name: entry for name, entry in own.items() if name not in IGNORED}
        if isinstance(value, nn.Module):
            # Through one list each, whatever the order in which they were registered and set.
            fields |= {
                part: dict(sorted((name, entry) for name, entry in own[part].items() if entry is not None))
                for part in ("_parameters", "_buffers")
            }
            fields["_modules"] = own["_modules"]
        return [_named(type(value)), *([name, self.of(entry)] for name, entry in sorted(fields.items()))]


def _named(value: Any) -> str:
    if "<" in value.__qualname__:  # a lambda, or local to a function: the name does not say what it does
        raise Indescribable(value.__qualname__)
    return f"{value.__module__}.{value.__qualname__}"
