"""Several copies of one network that run side by side, so that something can be done between them on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, fx, nn

Between = Callable[[int, list[Tensor]], Sequence[Tensor]]
"""(number of the stop, what each network has there) -> what each goes on with."""


class Lockstep:
    """Knows the steps of a network, and where on the way its `stops`, some of its modules, are passed.

    The steps come from torch.fx, which calls the network's `forward` once with a stand-in for the image. Modules that
    are stops are one step each, whatever is in them. Raises TypeError when `forward` asks for the values of the image:
    its steps are then not always the same.
    """

    def __init__(self, network: nn.Module, stops: Sequence[nn.Module]) -> None:
        tracer = _Tracer(stops)
        paths = {id(module): path for path, module in network.named_modules()}
        stopping = {paths[id(module)] for module in stops if id(module) in paths}
        modes = {part: part.training for part in network.modules()}
        self.graphs: dict[bool, fx.Graph] = {}
        self.stops: dict[bool, dict[str, int]] = {}  # by the node's name, which a copy of this object has too
        try:
            for training in (False, True):  # forward itself may ask in which mode it is
                network.train(training)
                self.graphs[training] = graph = tracer.trace(network)
                passed = [node for node in graph.nodes if node.op == "call_module" and node.target in stopping]
                self.stops[training] = {node.name: number for number, node in enumerate(passed)}
        except (fx.proxy.TraceError, TypeError) as error:
            raise TypeError(
                f"the steps of {type(network).__name__} cannot be told from its forward ({error}): it depends on more "
                "than the image's shape"
            ) from error
        finally:
            for part, training in modes.items():
                part.training = training
        self.count = max(len(places) for places in self.stops.values())

    def run(self, networks: Sequence[nn.Module], image: Tensor, between: Between) -> list[Tensor]:
        """What each network, a copy of the one that is known, makes of the image; at every stop `between` is asked."""
        memories: list[dict[fx.Node, Any]] = [{} for _ in networks]
        training = networks[0].training
        for node in self.graphs[training].nodes:
            for network, memory in zip(networks, memories, strict=True):
                memory[node] = _step(node, network, memory, image)
            if (number := self.stops[training].get(node.name)) is not None:
                values = between(number, [memory[node] for memory in memories])
                for memory, value in zip(memories, values, strict=True):
                    memory[node] = value
            if node.op == "output":
                return [memory[node] for memory in memories]
        raise AssertionError("a graph ends with its output")


class _Tracer(fx.Tracer):
    def __init__(self, stops: Sequence[nn.Module]) -> None:
        super().__init__()
        self._whole = {id(module) for module in stops}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return id(m) in self._whole or super().is_leaf_module(m, module_qualified_name)


def _step(node: fx.Node, network: nn.Module, memory: dict[fx.Node, Any], image: Tensor) -> Any:
    args = fx.map_arg(node.args, memory.__getitem__)
    kwargs = fx.map_arg(node.kwargs, memory.__getitem__)
    target: Any = node.target
    if node.op == "placeholder":
        return image
    if node.op == "get_attr":
        path, _, name = target.rpartition(".")
        return getattr(network.get_submodule(path), name)
    if node.op == "call_module":
        return network.get_submodule(target)(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], target)(*args[1:], **kwargs)
    if node.op == "call_function":
        return target(*args, **kwargs)
    return args[0]  # output
