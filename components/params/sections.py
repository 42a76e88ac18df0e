"""The sections of `params.yaml`: a section is a class, a key is a field. What a value may be by itself is said here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from components.errors import ParamsError, choices
from components.params.images import DataParams, PrepareParams
from components.params.operation import AdaptParams, MonitorParams, PromoteParams, RunParams
from components.params.section import Augment, Section, require

PRETRAINED = "pretrained"
"""Name of what `pretrain` wrote among the models: a teacher with features, but no answers."""


@dataclass(frozen=True)
class BackboneParams(Section):
    """`name`: one of Graft's own, a torchvision classification model, or `timm:` and a model of timm's; `weights`:
    'pretrain' (train them here on the source), a name such as IMAGENET1K_V1 (of timm's models: 'default'), or the path
    of a .safetensors or .pth file; `input_size`: side of the network's input in pixels (null: the weights' own)."""

    name: str = "small_resnet"
    weights: str = "pretrain"
    input_size: int | None = None

    def __post_init__(self) -> None:
        require(
            self.input_size is None or self.input_size >= 8, f"input_size is {self.input_size}, but must be at least 8"
        )


@dataclass(frozen=True)
class Recipe(Section):
    """How long and how fast to train. `lr` is the peak: linear warm-up over `warmup` of the steps, then cosine to 0.

    What of the backbone is trained, on top of what the strategy says: `batch_norm`: 'strategy' leaves it to the
    strategy, 'train' takes each batch's statistics, 'eval' keeps the pretrained ones and trains gains and shifts,
    'frozen' keeps these too; `frozen_stages`: so many stages from the input on stay as they are; `layer_decay`: each
    stage learns at this share of the rate of the one above it.

    Where classes are of different sizes: `class_weights`: 'balanced' weighs an image by the inverse of its class's
    frequency; `sampler`: 'balanced' draws every class equally often; `loss`: 'focal' makes little of what is easy, the
    less the greater `focal_gamma`. `mix`: two images of a batch as one, blended or cut, with both labels.
    """

    steps: int = 400
    batch_size: int = 64
    lr: float = 0.05
    weight_decay: float = 5e-4
    warmup: float = 0.1
    optimizer: Literal["sgd", "adamw"] = "sgd"
    augment: Augment = "light"
    mix: Literal["none", "mixup", "cutmix"] = "none"
    class_weights: Literal["none", "balanced"] = "none"
    sampler: Literal["shuffled", "balanced"] = "shuffled"
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: float = 2.0
    batch_norm: Literal["strategy", "train", "eval", "frozen"] = "strategy"
    frozen_stages: int = 0
    layer_decay: float = 1.0
    log_every: int = 20
    evaluate_every: int = 200
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "log_every", "evaluate_every", "checkpoint_every"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}, but must be at least 1")
        require(self.lr > 0, f"lr is {self.lr}, but must be positive")
        require(self.weight_decay >= 0, f"weight_decay is {self.weight_decay}, but must not be negative")
        require(0 <= self.warmup < 1, f"warmup is {self.warmup}, but must be at least 0 and below 1")
        require(self.focal_gamma >= 0, f"focal_gamma is {self.focal_gamma}, but must not be negative")
        require(self.frozen_stages >= 0, f"frozen_stages is {self.frozen_stages}, but must not be negative")
        require(0 < self.layer_decay <= 1, f"layer_decay is {self.layer_decay}, but must lie in (0, 1]")


@dataclass(frozen=True)
class PretrainParams(Recipe):
    """The recipe of the training on the source."""

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.label_smoothing < 1, f"label_smoothing is {self.label_smoothing}, but must be in [0, 1)")
        kept = {"batch_norm": self.batch_norm in ("eval", "frozen"), "frozen_stages": self.frozen_stages > 0}
        for name, keeps in kept.items():
            require(not keeps, f"{name} is {getattr(self, name)!r}, but pretraining starts from random weights")


@dataclass(frozen=True)
class EmbedParams(Section):
    """The pretrained backbone's features of every target image, computed once. `views`: of a training image, the first
    as it is, the others changed at random by the policy `augment`; `engine`: what computes them; 'auto' is onnxruntime
    where there are enough images to pay for the export and its answers are torch's to a relative 1e-5."""

    views: int = 1
    augment: Augment = "flip"
    engine: Literal["auto", "torch", "onnxruntime"] = "auto"

    def __post_init__(self) -> None:
        require(self.views >= 1, f"views is {self.views}, but must be at least 1")
        require(self.augment != "none", "augment is 'none', but would make copies of the first view")


@dataclass(frozen=True)
class TrainParams(Recipe):
    """The recipe of every strategy that does not bring its own, and the seeds each is trained with; `episodes`: how
    many few-shot tasks a strategy that can is examined with afterwards."""

    seeds: tuple[int, ...] = (0, 1, 2)
    episodes: int = 600

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.seeds) > 0, "seeds is empty, but at least one is needed")
        require(len(set(self.seeds)) == len(self.seeds), f"seeds {list(self.seeds)} repeat")
        require(min(self.seeds) >= 0, f"seeds {list(self.seeds)} must not be negative")
        require(self.episodes >= 2, f"episodes is {self.episodes}, but an interval needs at least 2")


@dataclass(frozen=True)
class ComputeParams(Section):
    """`auto`: the first GPU, else the CPU; the fastest precision by measurement; all cores divided by `cpu_slots`.
    `cpu_slots`: how many trainings share a machine without a GPU."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: int | Literal["auto"] = "auto"
    cpu_slots: int = 2

    def __post_init__(self) -> None:
        require(self.cpu_slots >= 1, f"cpu_slots is {self.cpu_slots}, but must be at least 1")
        require(self.threads == "auto" or self.threads >= 1, f"threads is {self.threads}, but must be at least 1")


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
        require(self.folds >= 2, f"folds is {self.folds}, but must be at least 2")
        require(self.suspects >= 0, f"suspects is {self.suspects}, but must not be negative")


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
        require(
            len(self.coverages) > 0 and all(0 < value <= 1 for value in self.coverages),
            f"coverages {list(self.coverages)} must lie above 0 and be at most 1",
        )
        require(0 < self.confidence < 1, f"confidence is {self.confidence}, but must lie between 0 and 1")
        require(self.resamples >= 100, f"resamples is {self.resamples}, but must be at least 100")


@dataclass(frozen=True)
class ExplainParams(Section):
    """`images`: how many answers are shown with what they looked at; `points`: images of each domain in the picture of
    features."""

    images: int = 8
    points: int = 300

    def __post_init__(self) -> None:
        require(self.images >= 0, f"images is {self.images}, but must not be negative")
        require(self.points >= 10, f"points is {self.points}, but a picture of features needs at least 10")


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
            require(0 < getattr(self, name) <= 1, f"{name} is {getattr(self, name)}, but must lie in (0, 1]")
        for name in ("logit_tolerance", "pixel_tolerance"):
            require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}, but must be positive")
        for name in ("near_tie", "max_accuracy_loss", "max_class_loss"):
            require(0 <= getattr(self, name) < 1, f"{name} is {getattr(self, name)}, but must be in [0, 1)")
        for name in ("precisions", "calibrators"):
            values = getattr(self, name)
            require(len(set(values)) == len(values), f"{name} {list(values)} repeat")
        require(len(self.calibrators) > 0, "calibrators is empty, but int8 needs at least one")
        require(self.calibration_images >= 1, f"calibration_images is {self.calibration_images}, but must be positive")


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
        require(len(self.batch_sizes) > 0 and min(self.batch_sizes) >= 1, "batch_sizes must be positive numbers")
        require(self.seconds > 0, f"seconds is {self.seconds}, but must be positive")
        require(len(self.providers) > 0, "providers is empty, but 'auto' or at least one is needed")
        require(self.min_speed_up >= 1, f"min_speed_up is {self.min_speed_up}, but must be at least 1")


@dataclass(frozen=True)
class Params(Section):
    """The whole file. `strategies` says how each entry is trained; `compare` names those that compete, `students` those
    that compete and learn from the model of the entry that `teacher` names."""

    data: DataParams
    compare: tuple[str, ...]
    students: tuple[str, ...]
    strategies: dict[str, dict[str, Any]]
    promote: PromoteParams
    teacher: str | None = None
    seed: int = 0
    prepare: PrepareParams = field(default_factory=PrepareParams)
    backbone: BackboneParams = BackboneParams()
    pretrain: PretrainParams = PretrainParams()
    embed: EmbedParams = EmbedParams()
    train: TrainParams = TrainParams()
    compute: ComputeParams = ComputeParams()
    audit: AuditParams = AuditParams()
    evaluate: EvaluateParams = EvaluateParams()
    explain: ExplainParams = ExplainParams()
    export: ExportParams = ExportParams()
    benchmark: BenchmarkParams = BenchmarkParams()
    monitor: MonitorParams = field(default_factory=MonitorParams)
    adapt: AdaptParams = field(default_factory=AdaptParams)
    run: RunParams = field(default_factory=RunParams)

    def __post_init__(self) -> None:
        require(self.seed >= 0, f"seed is {self.seed}, but must not be negative")

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
