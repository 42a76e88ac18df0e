"""What params.yaml may say, and that each mistake is one line with the key, the value and the choices."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest

from components import params
from components.errors import ParamsError
from components.strategies import catalogue
from promotion_support import PROMOTE

ROOT = Path(__file__).resolve().parents[1]
GOOD = {
    "data": {"target": {"folder": "images"}, "source": {"dataset": "printed_digits"}},
    "compare": ["fine_tune", "dan"],
    "students": [],
    "strategies": {"fine_tune": {"body_lr_factor": 0.5, "recipe": {"steps": 7}}, "dan": {}},
    "promote": PROMOTE,
}
ALONE = {"compare": ["fine_tune"], "students": [], "strategies": {"fine_tune": {}}, "promote": PROMOTE}


def _with(path: str, value: object) -> dict:
    """A good file with one value put at a dotted path."""
    raw = copy.deepcopy(GOOD)
    place = raw
    *parents, last = path.split(".")
    for part in parents:
        place = place.setdefault(part, {})
    place[last] = value
    return raw


def _refusal(raw: dict) -> str:
    with pytest.raises(ParamsError) as caught:
        params.parse(raw)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


def test_the_repository_s_own_file_loads():
    loaded = params.load(ROOT)
    assert set(loaded.strategies) <= set(catalogue.STRATEGIES)
    assert loaded.data.source is not None


def test_defaults_fill_what_is_left_out():
    loaded = params.parse(GOOD)
    assert loaded.seed == 0
    assert loaded.train.seeds == (0, 1, 2)
    assert loaded.evaluate.confidence == 0.95
    assert loaded.data.target.folder == "images"


@pytest.mark.parametrize("key", [key for key in PROMOTE if key != "approval_timeout_h"])
def test_a_threshold_of_the_promotion_that_is_missing_is_an_error(key: str):
    raw = copy.deepcopy(GOOD)
    del raw["promote"][key]
    assert _refusal(raw) == f"promote.{key} is missing"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("promote.aim", "bettr", "promote.aim is 'bettr'; choose from: 'better', 'as_good'"),
        ("promote.margin", -0.1, "promote: margin is -0.1, but must lie in [0, 1]"),
        ("promote.max_latency_ratio", 0.5, "promote: max_latency_ratio is 0.5, but must be at least 1"),
        ("promote.approval_timeout_h", 0, "promote: approval_timeout_h is 0.0, but must be positive"),
        ("promote.max_clas_loss", 0.1, "promote.max_clas_loss is not a parameter; did you mean 'max_class_loss'?"),
        ("monitor.windows", [5], "monitor: windows must be numbers of images, at least 20"),
        ("monitor.alpha", 1.0, "monitor: alpha is 1.0, but must lie between 0 and 1"),
        (
            "monitor.permutations",
            7998,
            "monitor: permutations is 7998, but alpha 0.001 over 2 windows needs",
        ),
        ("adapt.images", 3, "adapt: images is 3, but must be at least 50"),
        ("run.timeout_h", 0, "run: timeout_h is 0.0, but must be positive"),
    ],
)
def test_what_keeps_a_pipeline_running_is_checked_when_it_is_loaded(path: str, value: object, said: str):
    assert _refusal(_with(path, value)).startswith(said)


def test_as_many_permutations_are_asked_for_as_the_monitor_s_tests_take():
    from components.monitoring import drift, permutation

    tests = len(drift.TESTS) * len(params.MonitorParams().windows)
    assert permutation.least(tests, 0.01) == 799
    for alpha, windows in ((0.05, [50]), (0.02, [50, 100, 200])):
        least = permutation.least(len(drift.TESTS) * len(windows), alpha)
        entry = {"alpha": alpha, "windows": windows}
        assert params.parse(_with("monitor", {**entry, "permutations": least})).monitor.permutations == least
        assert "needs at least" in _refusal(_with("monitor", {**entry, "permutations": least - 1}))


def test_an_entry_s_recipe_lies_over_the_one_of_train():
    loaded = params.parse(_with("train.batch_size", 8))
    assert (loaded.recipe("fine_tune").steps, loaded.recipe("fine_tune").batch_size) == (7, 8)
    assert (loaded.recipe("dan").steps, loaded.recipe("dan").batch_size) == (params.Recipe().steps, 8)


def test_an_entry_is_sorted_into_strategy_hyper_parameters_and_recipe():
    raw = _with("strategies.gentle", {"strategy": "fine_tune", "body_lr_factor": 0.01, "recipe": {"lr": 0.1}})
    found = params.parse(raw).competitor("gentle")
    assert found == params.StrategyParams("fine_tune", {"body_lr_factor": 0.01}, {"lr": 0.1})


def test_an_entry_that_does_not_exist_is_refused():
    with pytest.raises(ParamsError, match=r"no entry 'finetune'; did you mean 'fine_tune'"):
        params.parse(GOOD).competitor("finetune")


@pytest.mark.parametrize(
    ("path", "value", "key", "hint"),
    [
        ("trian", {}, "trian", "'train'"),
        ("train.stpes", 5, "train.stpes", "'steps'"),
        ("data.target.foldr", "x", "data.target.foldr", "'folder'"),
        ("data.source.per_clas", 5, "data.source.per_clas", "'per_class'"),
        ("data.traget", {}, "data.traget", "'target'"),
        ("prepare.val_fractoin", 0.1, "prepare.val_fractoin", "'val_fraction'"),
        ("compute.devise", "cpu", "compute.devise", "'device'"),
        ("export.tolerance_of_logits", 1, "export.tolerance_of_logits", "logit_tolerance"),
        ("strategies.fine_tune.body_lr_facter", 1.0, "strategies.fine_tune.body_lr_facter", "'body_lr_factor'"),
        ("strategies.fine_tune.recipe.stps", 1, "strategies.fine_tune.recipe.stps", "'steps'"),
        ("strategies.fine_tune.recipe.seeds", [1], "strategies.fine_tune.recipe.seeds", "steps"),
        ("strategies.fine_tune.recipes", {}, "strategies.fine_tune.recipes", "'recipe'"),
    ],
)
def test_an_unknown_key_is_refused_with_a_suggestion(path, value, key, hint):
    message = _refusal(_with(path, value))
    assert message.startswith(f"{key} is not a parameter")
    assert hint in message


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        ("seed", "zero", "'zero'"),
        ("seed", 1.5, "1.5"),
        ("train.steps", "many", "'many'"),
        ("train.steps", True, "True"),
        ("train.lr", "fast", "'fast'"),
        ("train.seeds", 3, "3"),
        ("prepare.size", [32], "[32]"),
        ("run.max_concurrent", None, "None"),
        ("strategies.dan", None, "None"),
        ("strategies.dan", [1], "[1]"),
        ("data.target", "images", "'images'"),
        ("compute.threads", "all", "'all'"),
        ("strategies.fine_tune.recipe.lr", "fast", "'fast'"),
        ("strategies.fine_tune.recipe", 5, "5"),
        ("strategies.fine_tune.body_lr_factor", "half", "'half'"),
        ("strategies.fine_tune.body_lr_factor", True, "True"),
    ],
)
def test_a_wrong_type_is_refused_with_key_and_value(path, value, shown):
    message = _refusal(_with(path, value))
    assert message.startswith(f"{path} is {shown}")


@pytest.mark.parametrize(
    ("path", "value", "choices"),
    [
        ("compute.device", "gpu", ["'auto'", "'cpu'", "'cuda'"]),
        ("compute.precision", "fp16", ["'auto'", "'fp32'", "'bf16'"]),
        ("train.optimizer", "adam", ["'sgd'", "'adamw'"]),
        ("pretrain.augment", "heavy", ["'none'", "'shift'", "'light'"]),
        ("evaluate.select_by", "loss", ["'accuracy'", "'macro_f1'"]),
        ("strategies.dan.recipe.optimizer", "adam", ["'sgd'", "'adamw'"]),
    ],
)
def test_a_word_that_is_no_choice_is_refused_with_the_choices(path, value, choices):
    message = _refusal(_with(path, value))
    assert message.startswith(f"{path} is {value!r}")
    assert all(choice in message for choice in choices)


@pytest.mark.parametrize(
    ("path", "value", "parts"),
    [
        ("prepare.val_fraction", 0.7, ["prepare", "val_fraction + test_fraction", "1.1"]),
        ("prepare.val_fraction", 0, ["prepare", "val_fraction", "0"]),
        ("prepare.test_fraction", 1.2, ["prepare", "test_fraction", "1.2"]),
        ("prepare.size", 4, ["prepare", "size", "4"]),
        ("prepare.labels_per_class", 0, ["prepare", "labels_per_class"]),
        ("train.steps", 0, ["train", "steps", "0"]),
        ("train.lr", 0, ["train", "lr", "0"]),
        ("train.warmup", 1.0, ["train", "warmup", "1.0"]),
        ("train.seeds", [], ["train", "seeds"]),
        ("train.seeds", [1, 2, 1], ["train", "seeds", "[1, 2, 1]"]),
        ("compute.cpu_slots", 0, ["compute", "cpu_slots", "0"]),
        ("compute.threads", 0, ["compute", "threads", "0"]),
        ("evaluate.confidence", 95, ["evaluate", "confidence", "95"]),
        ("evaluate.resamples", 5, ["evaluate", "resamples", "5"]),
        ("export.min_agreement", 0, ["export", "min_agreement", "0"]),
        ("export.coverage", 0, ["export", "coverage", "0"]),
        ("export.max_accuracy_loss", 1, ["export", "max_accuracy_loss", "1"]),
        ("export.pixel_tolerance", 0, ["export", "pixel_tolerance", "0"]),
        ("export.precisions", ["int8", "int8"], ["export", "precisions", "'int8', 'int8'"]),
        ("export.calibrators", [], ["export", "calibrators"]),
        ("benchmark.batch_sizes", [0], ["benchmark", "batch_sizes"]),
        ("benchmark.min_speed_up", 0.9, ["benchmark", "min_speed_up", "0.9"]),
        ("benchmark.providers", [], ["benchmark", "providers"]),
        ("run.retries", -1, ["run", "retries", "-1"]),
        ("data.target", {"folder": "x", "dataset": "handwritten_digits"}, ["data.target", "'dataset'", "'folder'"]),
        ("data.target", {}, ["data.target", "'dataset'", "'folder'"]),
        ("data.target", {"folder": "x", "per_class": 5}, ["data.target", "per_class"]),
        ("data.source.per_class", 0, ["data.source", "per_class", "0"]),
        ("strategies.dan.recipe.steps", 0, ["strategies.dan.recipe", "steps", "0"]),
    ],
)
def test_an_impossible_value_is_refused_with_its_section(path, value, parts):
    message = _refusal(_with(path, value))
    assert message.startswith(parts[0])
    assert all(part in message for part in parts)


def test_a_missing_section_is_named():
    assert _refusal(ALONE) == "data is missing"
    assert _refusal({"data": {"target": {"folder": "x"}}}) == "compare is missing"
    assert _refusal({**ALONE, "data": {}}) == "data.target is missing"


def test_no_strategy_at_all_is_refused():
    message = _refusal({**GOOD, "compare": []})
    assert "compare is empty" in message
    assert "fine_tune" in message
    assert "no such entry" in _refusal({**GOOD, "strategies": {}})


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"compare": ["fine_tun"]}, ["compare names 'fine_tun'", "did you mean 'fine_tune'?"]),
        ({"compare": ["fine_tune", "dan", "fine_tune"]}, ["'fine_tune' twice"]),
        ({"students": ["dan"]}, ["'dan' twice"]),
        ({"compare": ["fine_tune"], "students": ["dan"]}, ["students names 'dan'", "belongs in compare"]),
        ({"compare": ["distillation"]}, ["compare names 'distillation'", "belongs in students"]),
        ({"students": ["distillation"]}, ["teacher is None", "'pretrained'"]),
        ({"students": ["distillation"], "teacher": "fine_tun"}, ["teacher is 'fine_tun'", "'fine_tune'"]),
        ({"compare": ["zero_shot"]}, ["strategies.zero_shot needs descriptions", "data.attributes"]),
        ({"compare": ["hard_sharing"]}, ["strategies.hard_sharing learns several tasks", "data.tasks"]),
    ],
)
def test_competitors_that_the_file_cannot_serve_are_refused(changes, parts):
    more = {"distillation": {}, "zero_shot": {}, "hard_sharing": {}}
    message = _refusal({**GOOD, "strategies": {**GOOD["strategies"], **more}, **changes})
    assert all(part in message for part in parts), message


def test_an_alias_is_the_strategy_that_texts_mean_by_it():
    raw = {**GOOD, "compare": ["DATNN"], "strategies": {"DATNN": {"recipe": {"steps": 3}}}}
    assert params.parse(raw).competitor("DATNN").strategy == "dann"


def test_a_coverage_without_a_threshold_is_refused():
    message = _refusal(_with("export.coverage", 0.93))
    assert message.startswith("export.coverage is 0.93")
    assert message.endswith("did you mean '0.9'?")
    assert params.parse(_with("evaluate", {"coverages": [1.0, 0.95]})).export.coverage == 0.95


def test_more_views_than_there_are_features_of_are_refused():
    raw = {**GOOD, "compare": ["linear_probe"], "strategies": {"linear_probe": {"views": 3}}}
    assert _refusal(raw).startswith("strategies.linear_probe.views is 3, but embed.views is 1: set embed.views to 3")
    assert params.parse({**raw, "embed": {"views": 3}}).competitor("linear_probe").hyper_parameters == {"views": 3}


def test_tasks_without_attributes_are_refused():
    assert "tasks are columns of attributes" in _refusal(_with("data.tasks", ["loops"]))


@pytest.mark.parametrize("path", ["strategies.fine_tun", "strategies.mine"])
def test_an_unknown_strategy_is_refused(path):
    entry = {} if path.endswith("tun") else {"strategy": "fine_tun"}
    message = _refusal(_with(path, entry))
    assert message.startswith(path)
    assert "'fine_tun' is not a strategy; did you mean 'fine_tune'?" in message


@pytest.mark.parametrize("name", ["a-b", "a b", "ä", "", "a/b", "a.b"])
def test_a_name_that_is_no_file_name_everywhere_is_refused(name):
    raw = copy.deepcopy(GOOD)
    raw["strategies"][name] = {"strategy": "fine_tune"}
    assert "letters, digits and '_'" in _refusal(raw)


@pytest.mark.parametrize("name", ["pretrained", "champion", "pretrain"])
def test_a_name_whose_outputs_something_else_writes_is_refused(name):
    """models/pretrained/ and models/champion/ are taken, and so is timings/pretrain.json."""
    assert "taken" in _refusal(_with(f"strategies.{name}", {"strategy": "fine_tune"}))


@pytest.mark.parametrize(
    "name", [name for name, entry in catalogue.STRATEGIES.items() if "source" in entry.needs], ids=str
)
def test_a_strategy_that_needs_the_source_is_refused_without_one(name):
    raw = {
        "data": {"target": {"folder": "x"}},
        "compare": [name],
        "students": [],
        "strategies": {name: {}},
        "backbone": {"name": "resnet18", "weights": "IMAGENET1K_V1"},
        "promote": PROMOTE,
    }
    message = _refusal(raw)
    assert message.startswith(f"strategies.{name} needs source")
    assert "data.source" in message


def test_pretraining_without_a_source_is_refused():
    message = _refusal({"data": {"target": {"folder": "x"}}, **ALONE})
    assert "backbone.weights" in message
    assert "'pretrain'" in message
    assert "data.source" in message


@pytest.mark.parametrize("path", ["seed", "train.seeds"])
def test_a_negative_seed_is_refused(path):
    """numpy's generators take none: without this the run dies with a traceback minutes later."""
    message = _refusal(_with(path, -1 if path == "seed" else [0, -1]))
    assert "-1" in message


def test_label_smoothing_is_refused_where_nothing_reads_it():
    """A strategy's label smoothing is its hyper-parameter; only pretraining takes it from the recipe."""
    params.parse(_with("pretrain.label_smoothing", 0.1))
    params.parse(_with("strategies.fine_tune.label_smoothing", 0.1))
    _refusal(_with("train.label_smoothing", 0.1))


def test_yaml_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "params.yaml").write_text("data: [1, 2\ntrain: {")
    with pytest.raises(ParamsError, match=r"params\.yaml is not valid YAML") as caught:
        params.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "shown"), [("", "NoneType"), ("- 1\n- 2\n", "list"), ("words", "str")])
def test_a_file_without_sections_is_refused(text, shown, tmp_path):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ParamsError, match=f"must hold sections, but holds {shown}"):
        params.load(tmp_path)


def test_no_file_is_refused_with_the_folder(tmp_path):
    with pytest.raises(ParamsError) as caught:
        params.load(tmp_path)
    assert str(tmp_path.resolve()) in str(caught.value)


def test_an_exponent_without_a_point_is_explained(tmp_path):
    """YAML reads 1e-3 as a word; who writes it must be told what to write."""
    message = _refusal(_with("train.lr", "1e-3"))
    assert message.startswith("train.lr is '1e-3'")
    assert "1.0e-3" in message


def test_tuples_of_hyper_parameters_are_written_as_lists():
    params.parse(_with("strategies.linear_probe", {"l2": [0.1, 1]}))
    assert "strategies.linear_probe.l2 is 0.1" in _refusal(_with("strategies.linear_probe", {"l2": 0.1}))
    assert "strategies.linear_probe.l2" in _refusal(_with("strategies.linear_probe", {"l2": ["a"]}))


def test_to_dict_holds_every_section_and_can_be_hashed():
    from components import lineage

    content = params.parse(GOOD).to_dict()
    assert content["strategies"]["fine_tune"]["body_lr_factor"] == 0.5
    assert lineage.digest(content) == lineage.digest(params.parse(GOOD).to_dict())
    assert lineage.digest(content) != lineage.digest(params.parse(_with("seed", 1)).to_dict())


def test_loading_imports_no_torch():
    code = (
        "import sys; from pathlib import Path; from components import params; params.load(Path(sys.argv[1]));"
        "assert 'torch' not in sys.modules, 'torch'; assert 'numpy' not in sys.modules, 'numpy'"
    )
    subprocess.run([sys.executable, "-c", code, str(ROOT)], check=True, cwd=ROOT)
