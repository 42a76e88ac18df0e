"""`params.yaml` as frozen, typed values. A section is a class, a key is a field; what does not fit is refused by name.

The classes are plain dataclasses, so training runs on a machine that has neither pydantic nor PyYAML; both are needed
only to read the file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from components.errors import ParamsError, choices

FILE = "params.yaml"
PRETRAINED = "pretrained"
"""Name of what `pretrain` wrote among the models: a teacher with features, but no answers."""


@dataclass(frozen=True)
class Section:
    """What all sections share: unknown keys and wrong types are refused."""

    __pydantic_config__ = {"extra": "forbid"}


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class ImagesParams(Section):
    """One domain's images: a built-in data set by name, or a folder with one folder per class."""

    dataset: str | None = None
    folder: str | None = None
    per_class: int | None = None  # of a data set that is generated: how many images to make for each class

    def __post_init__(self) -> None:
        _require((self.dataset is None) != (self.folder is None), "give exactly one of 'dataset' and 'folder'")
        _require(self.per_class is None or self.per_class > 0, f"per_class is {self.per_class}, but must be positive")
        _require(self.per_class is None or self.dataset is not None, "per_class only applies to a generated 'dataset'")


@dataclass(frozen=True)
class DataParams(Section):
    """`target`: the images the model is for; `source`: labelled images of another kind to transfer from.

    `attributes`: a CSV file whose first column holds the class names, and whose others say something of each class;
    `tasks`: the columns of it that are further questions about every image, for multi-task strategies. All others are
    numbers, and together the class's description, for zero-shot.
    """

    target: ImagesParams
    source: ImagesParams | None = None
    attributes: str | None = None
    tasks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require(not self.tasks or self.attributes is not None, "tasks are columns of attributes, which is not set")
        _require(len(set(self.tasks)) == len(self.tasks), f"tasks {list(self.tasks)} repeat")


@dataclass(frozen=True)
class PrepareParams(Section):
    """`size`: side of the stored square image in pixels; `interpolation`: of the resizing to it; `val_fraction` and
    `test_fraction` are of the target images, `source_val_fraction` of the source's; `labels_per_class`: target
    training labels that strategies may see (none: all).
    """

    size: int = 32
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    val_fraction: float = 0.2
    test_fraction: float = 0.4
    source_val_fraction: float = 0.05
    labels_per_class: int | None = None

    def __post_init__(self) -> None:
        _require(self.size >= 8, f"size is {self.size}, but must be at least 8 pixels")
        for name in ("val_fraction", "test_fraction", "source_val_fraction"):
            _require(0 < getattr(self, name) < 1, f"{name} is {getattr(self, name)}, but must lie between 0 and 1")
        kept = self.val_fraction + self.test_fraction
        _require(kept < 1, f"val_fraction + test_fraction is {kept:g}, which leaves nothing to train on")
        _require(self.labels_per_class is None or self.labels_per_class > 0, "labels_per_class must be positive")


@dataclass(frozen=True)
class BackboneParams(Section):
    """`weights`: 'pretrain' (train them here on the source), a torchvision weights name such as IMAGENET1K_V1,
    or the path of a .safetensors or .pth file."""

    name: str = "small_resnet"
    weights: str = "pretrain"


@dataclass(frozen=True)
class Recipe(Section):
    """How long and how fast to train. `lr` is the peak: linear warm-up over `warmup` of the steps, then cosine to 0."""

    steps: int = 400
    batch_size: int = 64
    lr: float = 0.05
    weight_decay: float = 5e-4
    warmup: float = 0.1
    optimizer: Literal["sgd", "adamw"] = "sgd"
    augment: Literal["none", "shift", "light", "strong"] = "light"
    log_every: int = 20
    evaluate_every: int = 200
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "log_every", "evaluate_every", "checkpoint_every"):
            _require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}, but must be at least 1")
        _require(self.lr > 0, f"lr is {self.lr}, but must be positive")
        _require(self.weight_decay >= 0, f"weight_decay is {self.weight_decay}, but must not be negative")
        _require(0 <= self.warmup < 1, f"warmup is {self.warmup}, but must be at least 0 and below 1")


@dataclass(frozen=True)
class PretrainParams(Recipe):
    """The recipe of the training on the source."""

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(0 <= self.label_smoothing < 1, f"label_smoothing is {self.label_smoothing}, but must be in [0, 1)")


@dataclass(frozen=True)
class TrainParams(Recipe):
    """The recipe of every strategy that does not bring its own, and the seeds each is trained with."""

    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(len(self.seeds) > 0, "seeds is empty, but at least one is needed")
        _require(len(set(self.seeds)) == len(self.seeds), f"seeds {list(self.seeds)} repeat")
        _require(min(self.seeds) >= 0, f"seeds {list(self.seeds)} must not be negative")


@dataclass(frozen=True)
class ComputeParams(Section):
    """`auto`: the first GPU, else the CPU; the fastest precision by measurement; all cores divided by `cpu_slots`.
    `cpu_slots`: how many trainings share a machine without a GPU."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: int | Literal["auto"] = "auto"
    cpu_slots: int = 2

    def __post_init__(self) -> None:
        _require(self.cpu_slots >= 1, f"cpu_slots is {self.cpu_slots}, but must be at least 1")
        _require(self.threads == "auto" or self.threads >= 1, f"threads is {self.threads}, but must be at least 1")


@dataclass(frozen=True)
class StrategyParams:
    """One competitor of the comparison: a strategy, its hyper-parameters, and what differs from `train`'s recipe."""

    strategy: str
    hyper_parameters: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluateParams(Section):
    """`select_by`: the validation metric that chooses; `confidence` and `resamples`: of the bootstrap intervals."""

    select_by: Literal["accuracy", "macro_f1"] = "accuracy"
    confidence: float = 0.95
    resamples: int = 2000

    def __post_init__(self) -> None:
        _require(0 < self.confidence < 1, f"confidence is {self.confidence}, but must lie between 0 and 1")
        _require(self.resamples >= 100, f"resamples is {self.resamples}, but must be at least 100")


@dataclass(frozen=True)
class ExportParams(Section):
    """`min_agreement`: share of validation images whose decision must be the same in torch and ONNX;
    `logit_tolerance`: largest allowed difference of a logit; `near_tie`: two classes closer than this in
    probability may swap places."""

    min_agreement: float = 0.999
    logit_tolerance: float = 1e-3
    near_tie: float = 1e-3

    def __post_init__(self) -> None:
        _require(0 < self.min_agreement <= 1, f"min_agreement is {self.min_agreement}, but must lie in (0, 1]")
        _require(self.logit_tolerance > 0, f"logit_tolerance is {self.logit_tolerance}, but must be positive")


@dataclass(frozen=True)
class BenchmarkParams(Section):
    """`batch_sizes` to time; `seconds` spent on each; `providers`: cpu, cuda, or auto for all that this machine has."""

    batch_sizes: tuple[int, ...] = (1, 32)
    seconds: float = 1.0
    providers: tuple[Literal["auto", "cpu", "cuda"], ...] = ("auto",)

    def __post_init__(self) -> None:
        _require(len(self.batch_sizes) > 0 and min(self.batch_sizes) >= 1, "batch_sizes must be positive numbers")
        _require(self.seconds > 0, f"seconds is {self.seconds}, but must be positive")


@dataclass(frozen=True)
class PromoteParams(Section):
    """`registered_model`: its name in MLflow; `min_gain`: the challenger's lead in test accuracy over the champion
    must have an interval that lies above this."""

    registered_model: str = "graft"
    min_gain: float = 0.0


@dataclass(frozen=True)
class RunParams(Section):
    """`max_concurrent`: stages at once; `retries`: for a stage whose failure a second try may mend."""

    max_concurrent: int = 2
    retries: int = 1

    def __post_init__(self) -> None:
        _require(self.max_concurrent >= 1, f"max_concurrent is {self.max_concurrent}, but must be at least 1")
        _require(self.retries >= 0, f"retries is {self.retries}, but must not be negative")


@dataclass(frozen=True)
class Params(Section):
    """The whole file. `strategies` says how each entry is trained; `compare` names those that compete, `students` those
    that compete and learn from the model of the entry that `teacher` names."""

    data: DataParams
    compare: tuple[str, ...]
    students: tuple[str, ...]
    strategies: dict[str, dict[str, Any]]
    teacher: str | None = None
    seed: int = 0
    prepare: PrepareParams = PrepareParams()
    backbone: BackboneParams = BackboneParams()
    pretrain: PretrainParams = PretrainParams()
    train: TrainParams = TrainParams()
    compute: ComputeParams = ComputeParams()
    evaluate: EvaluateParams = EvaluateParams()
    export: ExportParams = ExportParams()
    benchmark: BenchmarkParams = BenchmarkParams()
    promote: PromoteParams = PromoteParams()
    run: RunParams = RunParams()

    def __post_init__(self) -> None:
        _require(self.seed >= 0, f"seed is {self.seed}, but must not be negative")

    @property
    def competitors(self) -> tuple[str, ...]:
        """Everyone who competes, students last."""
        return (*self.compare, *self.students)

    def competitor(self, name: str) -> StrategyParams:
        """The entry `strategies.<name>`, its keys sorted into what they are for."""
        from components.strategies import catalogue

        if name not in self.strategies:
            raise ParamsError(f"strategies has no entry {name!r}; {choices(name, self.strategies)}")
        entry = dict(self.strategies[name])
        strategy, recipe = entry.pop("strategy", name), entry.pop("recipe", {})
        return StrategyParams(strategy=catalogue.canonical(strategy), hyper_parameters=entry, recipe=recipe)

    def recipe(self, name: str) -> Recipe:
        """`train`'s recipe with the entry's own `recipe` laid over it."""
        return replace(self.recipe_defaults(), **self.competitor(name).recipe)

    def recipe_defaults(self) -> Recipe:
        """`train` without what is not a recipe: the seeds."""
        return Recipe(**{f.name: getattr(self.train, f.name) for f in fields(Recipe)})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


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
    params = _typed(Params, raw, prefix="")
    check(params)
    return params


def check(params: Params) -> None:
    """Raises ParamsError for sections that are right by themselves and do not go together."""
    for name in params.strategies:
        _check_entry(params, name)
    _check_competitors(params)
    if params.backbone.weights == "pretrain" and params.data.source is None:
        raise ParamsError("backbone.weights is 'pretrain', which trains on the source, but data.source is not set")


def _check_entry(params: Params, name: str) -> None:
    """Refuses what cannot be trained so, whoever competes."""
    from components.strategies import catalogue

    _check_name(name)
    competitor = params.competitor(name)
    key = f"strategies.{name}"
    if competitor.strategy not in catalogue.STRATEGIES:
        where = key if competitor.strategy == name else f"{key}.strategy"
        raise ParamsError(
            f"{where}: {competitor.strategy!r} is not a strategy; {choices(competitor.strategy, catalogue.STRATEGIES)}"
        )
    catalogue.check_hyper_parameters(competitor.strategy, competitor.hyper_parameters, key)
    if not isinstance(competitor.recipe, dict):
        raise ParamsError(f"{key}.recipe is {competitor.recipe!r}, but must hold keys of 'train'")
    _typed(Recipe, {**asdict(params.recipe_defaults()), **competitor.recipe}, prefix=f"{key}.recipe")


def _check_competitors(params: Params) -> None:
    """Refuses a comparison that the data, or the other entries, cannot serve."""
    from components.strategies import catalogue

    if not params.compare:
        raise ParamsError(f"compare is empty; {choices('', params.strategies or catalogue.STRATEGIES)}")
    for section, names in (("compare", params.compare), ("students", params.students)):
        for name in names:
            if name not in params.strategies:
                raise ParamsError(
                    f"{section} names {name!r}, but strategies has no such entry; {choices(name, params.strategies)}"
                )
            if params.competitors.count(name) > 1:
                raise ParamsError(f"{section} names {name!r} twice, or compare and students both do")
            competitor = params.competitor(name)
            needs = catalogue.needs(competitor.strategy, competitor.hyper_parameters)
            if (catalogue.TEACHER in needs) != (section == "students"):
                belongs = "students" if catalogue.TEACHER in needs else "compare"
                raise ParamsError(f"{section} names {name!r}, which belongs in {belongs}")
            if {"source", "unlabelled"} <= set(needs) and params.recipe(name).batch_size < 2:
                raise ParamsError(f"strategies.{name} compares two domains in a batch: batch_size must be at least 2")
            if "source" in needs and params.data.source is None:
                raise ParamsError(f"strategies.{name} needs source, but data.source is not set")
            if "descriptions" in needs and params.data.attributes is None:
                raise ParamsError(f"strategies.{name} needs descriptions, but data.attributes is not set")
            if catalogue.STRATEGIES[competitor.strategy].tasks == "all" and not params.data.tasks:
                raise ParamsError(f"strategies.{name} learns several tasks, but data.tasks is empty")
    if params.students and params.teacher not in (*params.compare, PRETRAINED):
        raise ParamsError(
            f"teacher is {params.teacher!r}, but must be one of compare, or {PRETRAINED!r} for the backbone alone; "
            f"{choices(str(params.teacher), [*params.compare, PRETRAINED])}"
        )


def _check_name(name: str) -> None:
    # The name becomes a folder, a DVC stage and a run: keep to what all three accept.
    if not name.replace("_", "").isalnum() or not name.isascii():
        raise ParamsError(f"strategies.{name}: a name may hold letters, digits and '_' only")
    if name in ("pretrain", PRETRAINED, "champion"):
        raise ParamsError(f"strategies.{name}: this name is taken by what the pipeline itself writes; choose another")


def _typed(kind: type, raw: Any, prefix: str) -> Any:
    """`raw` as an instance of the dataclass `kind`; the first thing wrong becomes one ParamsError."""
    from pydantic import TypeAdapter, ValidationError

    try:
        # Through JSON, where strictness means "a string is no number" but a list may fill a tuple.
        return TypeAdapter(kind).validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        raise ParamsError(_explain(kind, error.errors()[0], prefix)) from None


def _explain(kind: type, problem: Any, prefix: str) -> str:
    # Where a value may be of several types, pydantic adds which one it tried; no key has such a name.
    path = [str(part) for part in problem["loc"] if part not in ("int", "str", "float") and "[" not in str(part)]
    key = ".".join(([prefix] if prefix else []) + path)
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _keys(kind, path[:-1])
        return f"{key} is not a parameter; {choices(path[-1], known)}"
    if problem["type"] in ("missing", "missing_argument"):
        return f"{key} is missing"
    if problem["type"] == "value_error":
        return f"{key or FILE}: {problem['ctx']['error']}"
    if problem["type"] == "literal_error":
        expected = problem["ctx"]["expected"].replace(" or ", ", ")
        return f"{key} is {problem['input']!r}; choose from: {expected}"
    if problem["type"] == "float_type" and isinstance(problem["input"], str) and "e" in problem["input"]:
        return f"{key} is {problem['input']!r}: YAML reads this as text; write it with a point, such as 1.0e-3"
    return f"{key} is {problem['input']!r}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"


def _keys(kind: Any, path: list[str]) -> list[str]:
    """The field names of the section that `path` leads to."""
    from typing import get_args, get_type_hints

    for part in path:
        hint = get_type_hints(kind).get(part)
        options = [hint, *get_args(hint)]
        sections = [option for option in options if isinstance(option, type) and issubclass(option, Section)]
        if not sections:
            return []
        kind = sections[0]
    return [f.name for f in fields(kind)]
