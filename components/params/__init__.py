"""`params.yaml` as frozen, typed values. What does not fit is refused by name.

The classes are plain dataclasses, so training runs on a machine that has neither pydantic nor PyYAML; both are needed
only to read the file.
"""

from components.params.checks import check
from components.params.images import ColumnsParams, DataParams, ImagesParams, PrepareParams
from components.params.operation import AdaptParams, MonitorParams, PromoteParams, RunParams
from components.params.reading import load, parse
from components.params.section import Section
from components.params.sections import (
    PRETRAINED,
    AuditParams,
    BackboneParams,
    BenchmarkParams,
    ComputeParams,
    EmbedParams,
    EvaluateParams,
    ExplainParams,
    ExportParams,
    Params,
    PretrainParams,
    Recipe,
    StrategyParams,
    TrainParams,
)
from components.params.typed import FILE

__all__ = [
    "FILE",
    "PRETRAINED",
    "AdaptParams",
    "AuditParams",
    "BackboneParams",
    "BenchmarkParams",
    "ColumnsParams",
    "ComputeParams",
    "DataParams",
    "EmbedParams",
    "EvaluateParams",
    "ExplainParams",
    "ExportParams",
    "ImagesParams",
    "MonitorParams",
    "Params",
    "PrepareParams",
    "PretrainParams",
    "PromoteParams",
    "Recipe",
    "RunParams",
    "Section",
    "StrategyParams",
    "TrainParams",
    "check",
    "load",
    "parse",
]
