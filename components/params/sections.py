"""The sections of `params.yaml`: a section is a class, a key is a field. What a value may be by itself is said here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from components.errors import ParamsError, choices

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
    """One domain's images: a built-in data set by name, or a folder with one folder per class.

    `metadata`: a CSV file with a column `path` (of the image, relative to the images' folder) and others, which become
    columns of the manifest: what results can be sliced by.
    """

    dataset: str | None = None
    folder: str | None = None
    metadata: str | None = None
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
    training labels that strategies may see (none: all); `near_duplicates`: what becomes of a training image that is
    nearly the same as one that is held out: dropped, or kept and reported; `near_duplicate_similarity`: from what
    correlation of pixels on two images are nearly the same.
    """

    size: int = 32
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    val_fraction: float = 0.2
    test_fraction: float = 0.4
    source_val_fraction: float = 0.05
    labels_per_class: int | None = None
    near_duplicates: Literal["drop", "keep"] = "drop"
    near_duplicate_similarity: float = 0.993

    def __post_init__(self) -> None:
        _require(self.size >= 8, f"size is {self.size}, but must be at least 8 pixels")
        for name in ("val_fraction", "test_fraction", "source_val_fraction"):
            _require(0 < getattr(self, name) < 1, f"{name} is {getattr(self, name)}, but must lie between 0 and 1")
        kept = self.val_fraction + self.test_fraction
        _require(kept < 1, f"val_fraction + test_fraction is {kept:g}, which leaves nothing to train on")
        _require(self.labels_per_class is None or self.labels_per_class > 0, "labels_per_class must be positive")
        _require(
            0 < self.near_duplicate_similarity <= 1,
            f"near_duplicate_similarity is {self.near_duplicate_similarity}, but must lie in (0, 1]",
        )


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
    """The recipe of every strategy that does not bring its own, and the seeds each is trained with; `episodes`: how
    many few-shot tasks a strategy that can is examined with afterwards."""

    seeds: tuple[int, ...] = (0, 1, 2)
    episodes: int = 600

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(len(self.seeds) > 0, "seeds is empty, but at least one is needed")
        _require(len(set(self.seeds)) == len(self.seeds), f"seeds {list(self.seeds)} repeat")
        _require(min(self.seeds) >= 0, f"seeds {list(self.seeds)} must not be negative")
        _require(self.episodes >= 2, f"episodes is {self.episodes}, but an interval needs at least 2")


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
class AuditParams(Section):
    """`folds`: of the cross-validation that looks for wrong labels; `suspects`: how many of them are listed at most."""

    folds: int = 5
    suspects: int = 60

    def __post_init__(self) -> None:
        _require(self.folds >= 2, f"folds is {self.folds}, but must be at least 2")
        _require(self.suspects >= 0, f"suspects is {self.suspects}, but must not be negative")


@dataclass(frozen=True)
class EvaluateParams(Section):
    """`select_by`: the validation metric that chooses; `confidence` and `resamples`: of the bootstrap intervals, and
    1 - confidence is the level of the tests; `coverages`: shares of the images to answer for which a confidence
    threshold is looked for; `slices`: columns of the manifest to look at separately (none: all that have several
    values)."""

    select_by: Literal["accuracy", "macro_f1"] = "accuracy"
    confidence: float = 0.95
    resamples: int = 2000
    coverages: tuple[float, ...] = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)
    slices: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _require(
            len(self.coverages) > 0 and all(0 < value <= 1 for value in self.coverages),
            f"coverages {list(self.coverages)} must lie above 0 and be at most 1",
        )
        _require(0 < self.confidence < 1, f"confidence is {self.confidence}, but must lie between 0 and 1")
        _require(self.resamples >= 100, f"resamples is {self.resamples}, but must be at least 100")


@dataclass(frozen=True)
class ExplainParams(Section):
    """`images`: how many answers are shown with what they looked at; `points`: images of each domain in the picture of
    features."""

    images: int = 8
    points: int = 300

    def __post_init__(self) -> None:
        _require(self.images >= 0, f"images is {self.images}, but must not be negative")
        _require(self.points >= 10, f"points is {self.points}, but a picture of features needs at least 10")


@dataclass(frozen=True)
class ExportParams(Section):
    """What an exported model must keep to be admitted.

    fp32, against torch: `min_agreement`, the share of validation images whose decision must be the same;
    `logit_tolerance`, the largest allowed difference of a logit; `near_tie`: two classes closer than this in
    probability may swap places; `pixel_tolerance`: grey levels (of 255) by which the graph's own resizing may differ
    from training's.

    `precisions`: what is tried beside fp32. Against their parent: `min_precision_agreement` as above,
    `max_accuracy_loss` and `max_class_loss`, shares of validation images. `calibrators`: how int8's ranges are found,
    tried in this order until one is admitted, on `calibration_images` of the training images.

    `features`: whether the graph gives them too; `coverage`: the share of images to answer by oneself, whose
    threshold (see `evaluate.coverages`) the model carries.
    """

    min_agreement: float = 0.999
    logit_tolerance: float = 1e-3
    near_tie: float = 1e-3
    pixel_tolerance: float = 1.5
    precisions: tuple[Literal["int8", "fp16"], ...] = ("int8", "fp16")
    min_precision_agreement: float = 0.995
    max_accuracy_loss: float = 0.005
    max_class_loss: float = 0.02
    calibrators: tuple[Literal["minmax", "percentile", "entropy"], ...] = ("minmax", "percentile", "entropy")
    calibration_images: int = 256
    features: bool = True
    coverage: float = 0.95

    def __post_init__(self) -> None:
        for name in ("min_agreement", "min_precision_agreement", "coverage"):
            _require(0 < getattr(self, name) <= 1, f"{name} is {getattr(self, name)}, but must lie in (0, 1]")
        for name in ("logit_tolerance", "pixel_tolerance"):
            _require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}, but must be positive")
        for name in ("near_tie", "max_accuracy_loss", "max_class_loss"):
            _require(0 <= getattr(self, name) < 1, f"{name} is {getattr(self, name)}, but must be in [0, 1)")
        for name in ("precisions", "calibrators"):
            values = getattr(self, name)
            _require(len(set(values)) == len(values), f"{name} {list(values)} repeat")
        _require(len(self.calibrators) > 0, "calibrators is empty, but int8 needs at least one")
        _require(self.calibration_images >= 1, f"calibration_images is {self.calibration_images}, but must be positive")


@dataclass(frozen=True)
class BenchmarkParams(Section):
    """`batch_sizes` to time; `seconds` spent on each; `providers`: cpu, openvino, cuda, tensorrt, or auto for all that
    this machine has; `min_speed_up`: how many times as fast as fp32 on the same provider another precision must be to
    be shipped; `torch_compile`: whether torch.compile stands in the table, which takes a minute to compile."""

    batch_sizes: tuple[int, ...] = (1, 32)
    seconds: float = 1.0
    providers: tuple[Literal["auto", "cpu", "openvino", "cuda", "tensorrt"], ...] = ("auto",)
    min_speed_up: float = 1.05
    torch_compile: bool = False

    def __post_init__(self) -> None:
        _require(len(self.batch_sizes) > 0 and min(self.batch_sizes) >= 1, "batch_sizes must be positive numbers")
        _require(self.seconds > 0, f"seconds is {self.seconds}, but must be positive")
        _require(len(self.providers) > 0, "providers is empty, but 'auto' or at least one is needed")
        _require(self.min_speed_up >= 1, f"min_speed_up is {self.min_speed_up}, but must be at least 1")


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
    audit: AuditParams = AuditParams()
    evaluate: EvaluateParams = EvaluateParams()
    explain: ExplainParams = ExplainParams()
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
