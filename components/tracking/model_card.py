"""A model card: what someone has to know who finds a version in the registry and thinks of using it.

After Mitchell et al., 2019, arXiv:1810.03993: details, intended use, data, metrics with their spread, and what it
is bad at. Lists stand where tables would be expected, because MLflow's page sets no space between a table's cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from components.reporting.verdicts import Verdict, single, verdicts
from components.tracking.decision_card import beside_the_champion

LIMIT = 100_000
"""Characters that MLflow keeps of a description."""


def card(
    bundle: Mapping,
    evaluation: Mapping,
    model: Mapping,
    benchmark: Mapping | None,
    *,
    name: str,
    version: str,
    decision: str,
    checks: Sequence[Mapping] = (),
    evidence: Mapping | None = None,
) -> str:
    """Markdown. `bundle`: bundle.json; `evaluation`: reports/evaluation.json; `model`: models/<chosen>/model.json;
    `benchmark`: reports/benchmark.json, None where this bundle was not measured; `name` and `version`: in the registry;
    `decision`: why it did or did not become champion, in a sentence; `checks`, `evidence`: all that was looked at for
    that, and the figures of both, as the decision log keeps them."""
    row = next(row for row in evaluation["strategies"] if row["strategy"] == bundle["strategy"])
    sections = [
        f"# {name}, version {version}: `{bundle['strategy']}`\n\n{evaluation['verdict']}\n\n{decision[:1].upper()}"
        f"{decision[1:]}.",
        *([beside_the_champion(checks, evidence)] if checks or evidence else []),
        _use(bundle, row),
        _results(row, evaluation),
        _rivals(row["strategy"], evaluation),
        _weak(row),
        _abstain(bundle["abstain"]),
        _precisions(bundle, benchmark),
        _training(model, evaluation),
        _limits(evaluation),
        _call(bundle, name, version),
        _lineage(bundle),
    ]
    text = "\n\n".join(sections) + "\n"
    return text if len(text) <= LIMIT else text[: LIMIT - 2].rstrip() + " …"


def _use(bundle: Mapping, row: Mapping) -> str:
    lines = []
    for task, classes in bundle["classes"].items():
        shown = ", ".join(f"`{label}`" for label in classes[:50])
        more = f" and {len(classes) - 50} more" if len(classes) > 50 else ""
        lines.append(f"- {task}: one of {len(classes)} classes: {shown}{more}")
    return "\n".join(
        [
            "## Intended use",
            "",
            f"It answers one RGB image with a class and the probability of each. {row['parameters']:,} parameters.",
            "",
            *lines,
            "",
            "Meant for images that were taken as the evaluated ones were. Every image gets one of these classes, "
            "whatever it shows: nothing here recognises what is none of them.",
        ]
    )  # fmt: skip


def _results(row: Mapping, evaluation: Mapping) -> str:
    val, test, confidence = row["val"], row["test"], evaluation["confidence"]
    named = (
        ("accuracy", "accuracy"), ("macro-F1", "macro_f1"), ("recall of the worst class", "worst_recall"),
        ("log loss", "log_loss_calibrated"), ("Brier score", "brier_calibrated"),
        ("calibration error (ECE)", "ece_calibrated"),
    )  # fmt: skip
    spread = "One seed" if row["seeds"] == 1 else f"Means of {row['seeds']} seeds"
    if test["seed_std"] is not None:
        spread += f", whose test accuracies have a standard deviation of {100 * test['seed_std']:.1f} points"
    lines = []
    for title, key in named:
        low, high = ("low", "high") if key == "accuracy" else (f"{key}_low", f"{key}_high")
        interval = f" ({_figure(key, test[low])} to {_figure(key, test[high])})" if low in test else ""
        lines.append(f"- {title}: {_figure(key, test[key])}{interval}; validation {_figure(key, val[key])}")
    temperatures = ", ".join(
        f"{found['value']:.3g} ({task}, fitted on {found['images']:,} {found['fitted_on']} images)"
        for task, found in row["temperature"].items()
    )
    return "\n".join(
        [
            "## Results",
            "",
            f"On {evaluation['images']['test']:,} test images, with {confidence:.0%} intervals; "
            f"{evaluation['images']['val']:,} validation images chose it. {spread}.",
            "",
            *lines,
            "",
            f"Probabilities are calibrated: the exported graph divides its logits by a temperature of {temperatures}. "
            f"The calibration error was {test['ece']:.3f} without it and is {test['ece_calibrated']:.3f} with it.",
        ]
    )  # fmt: skip


def _rivals(name: str, evaluation: Mapping) -> str:
    """Which of the others cannot be told apart from it."""
    rows = evaluation["strategies"]
    tied = [row for row in rows if row["tied_with_first"] and row["strategy"] != evaluation["chosen"]]
    needs = [f"`{row['strategy']}` (needs {', '.join(row['needs']) or 'nothing'})" for row in tied]
    lost = {
        pair["strategy"] if pair["over"] == name else pair["over"]
        for pair in evaluation["pairs"]
        if pair["real"]
        and name in (pair["strategy"], pair["over"])
        and (pair["difference"] < 0) == (pair["strategy"] == name)
    }
    beaten = len(rows) - len(tied) - 1 - len(lost)
    lines = []
    if tied:
        lines.append(f"- These test images do not tell it from {', '.join(needs)}.")
    if lost:
        worse = ", ".join(f"`{row['strategy']}`" for row in rows if row["strategy"] in lost)
        lines.append(f"- Validation chose it, but on the test images it is really behind {worse}.")
    if beaten:
        others = f"{beaten} of the {len(rows) - 1} others" if len(rows) > 2 else "the other one"
        lines.append(f"- Its lead over {others} is real, corrected for the number of comparisons.")
    lines += [f"- `{entry['strategy']}` failed in training: {entry['reason']}" for entry in evaluation["failed"]]
    return "\n".join(["## Against the others", "", *(lines or ["It had no rivals."])])


def _weak(row: Mapping) -> str:
    classes = sorted((entry for entry in row["per_class"] if entry["images"]), key=lambda entry: entry["recall"])
    lines = [
        f"- class `{entry['class_name']}`: {entry['recall']:.1%} of {entry['images']:,} found "
        f"({entry['recall_low']:.1%} to {entry['recall_high']:.1%})"
        for entry in classes[:3]
    ] + [
        f"- images with {entry['column']} `{entry['value']}`: {entry['accuracy']:.1%} of {entry['images']:,} right "
        f"({entry['low']:.1%} to {entry['high']:.1%})"
        for entry in sorted(row["slices"], key=lambda entry: entry["accuracy"])[:3]
    ]
    return "\n".join(["## Where it is weakest", "", *lines])


def _abstain(steps: Sequence[Mapping]) -> str:
    lines = [
        f"- from {step['threshold']:.3f}: {step['test_coverage']:.0%} of the test images answered, "
        f"{step['test_accuracy']:.1%} of those rightly"
        if step["test_accuracy"] is not None
        else f"- from {step['threshold']:.3f}: no test image answered"
        for step in steps
        if step["coverage"] < 1
    ]
    told = (
        "Thresholds on the probability of the answer, found on the validation images. Leave an image below it to a "
        "person:"
    )
    return "\n".join(
        ["## When to ask a person", "", *([told, "", *lines] if lines else ["No threshold was looked for."])]
    )


def _precisions(bundle: Mapping, benchmark: Mapping | None) -> str:
    """Every route: what became of it and why, with its figures where it was measured."""
    if benchmark is None:
        admission = bundle.get("admission", {"fp32@cpu": {"admitted": True, "reason": "it is the only one"}})
        lines = [
            f"- `{route}`: {'admitted' if answers['admitted'] else 'refused'}, {answers['reason']}"
            for route, answers in admission.items()
        ]
        told = "Its speed was not measured."
    else:
        lines = [_route(verdict, bundle, benchmark) for verdict in verdicts(benchmark, bundle)]
        threads = "1 thread" if benchmark["threads"] == 1 else f"{benchmark['threads']} threads"
        told = f"Measured on {benchmark['machine']}, {threads}, beside torch in one run."
    return "\n".join(["## Precisions", "", told, "", *lines])


def _route(verdict: Verdict, bundle: Mapping, benchmark: Mapping) -> str:
    if not any(row["route"] == verdict.route for row in benchmark["measurements"]):
        return f"- `{verdict.route}`: {verdict.kind}, {verdict.reason}"
    row, accuracy = single(benchmark, verdict.route), benchmark["accuracy"].get(verdict.route)
    figures = [] if accuracy is None else [f"{accuracy:.1%} of the test images"]
    agreement = bundle.get("admission", {}).get(verdict.route, {}).get("agreement")
    if agreement is not None:
        figures.append(f"decides as fp32 on {agreement:.2%}")
    figures += [f"{row['latency_ms']:.2f} ms for a batch of {row['batch_size']}", f"{row['size_mib']:.2f} MiB"]
    if "over_torch" in row:
        figures.append(f"{row['over_torch']['ratio']:.1f} times as fast as torch")
    return f"- `{verdict.route}`: {', '.join(figures)}; {verdict.kind}: {verdict.reason}"


def _training(model: Mapping, evaluation: Mapping) -> str:
    recipe = ", ".join(f"{name} {value}" for name, value in model["recipe"].items())
    hyper = ", ".join(f"{name} {value}" for name, value in model["hyper_parameters"].items()) or "the paper's"
    seeds = ", ".join(map(str, model["seeds"]))
    return "\n".join(
        [
            "## Training",
            "",
            f"- strategy: `{model['strategy']}` ({model['family']}); needs {', '.join(model['needs']) or 'nothing'}",
            f"- backbone: {model['backbone']}, weights {model['backbone_weights']}",
            f"- hyper-parameters: {hyper}",
            f"- recipe: {recipe}",
            f"- seeds: {seeds}; seed {model['best_seed']} is exported, chosen by {model['chosen_by']}",
            f"- chosen among {len(evaluation['strategies'])} strategies by {evaluation['selected_by']}"
            if len(evaluation["strategies"]) > 1
            else "- it is the only strategy that was trained to the end",
        ]
    )


def _limits(evaluation: Mapping) -> str:
    return "\n".join(
        [
            "## Limits",
            "",
            f"- The intervals speak of images like the {evaluation['images']['test']:,} test images. Other cameras, "
            "places or times were not tried.",
            "- Its validation figures flatter it, since they chose; its test figures do not.",
            "- The probabilities are calibrated on average, not for each class.",
        ]
    )


def _call(bundle: Mapping, name: str, version: str) -> str:
    outputs = [f"`logits{suffix}` and `probabilities{suffix}`" for suffix in _suffixes(bundle)]
    return "\n".join(
        [
            "## How to call it",
            "",
            f"Input `image`: uint8 [batch, height, width, 3], RGB, any size: resizing to "
            f"{bundle['preprocess']['size']} pixels and normalising are in the graph. Outputs: {', '.join(outputs)}.",
            "",
            "```python",
            "import mlflow, numpy as np",
            "from PIL import Image",
            "",
            f'model = mlflow.pyfunc.load_model("models:/{name}/{version}")',
            'image = np.asarray(Image.open("photo.png").convert("RGB"))[None]',
            f'model.predict({{"image": image}})["probabilities{_suffixes(bundle)[0]}"]',
            "```",
            "",
            "Without MLflow, once it is champion: `graft predict photo.png`.",
        ]
    )


def _lineage(bundle: Mapping) -> str:
    made = bundle["lineage"]
    parity = bundle["parity"]["fp32"]
    commit = f"commit `{made['git_commit']}`" if made["git_commit"] else "not made in a git repository"
    return "\n".join(
        [
            "## Lineage",
            "",
            f"- {commit}, seed {made['seed']}",
            f"- data sha256 `{made['data_sha256']}`",
            f"- parameters sha256 `{made['params_sha256']}`",
            f"- weights sha256 `{made['weights_sha256']}`",
            "- " + ", ".join(f"{package} {version}" for package, version in made["versions"].items()),
            f"- the ONNX file decides as the trained model does on {parity['agreement']:.2%} of the validation images, "
            f"logits within {parity['max_logit_difference']:.1e}",
        ]
    )


def _suffixes(bundle: Mapping) -> list[str]:
    """What the graph's outputs are told apart by: nothing where there is one task."""
    tasks = list(bundle["classes"])
    return [f"_{task}" for task in tasks] if len(tasks) > 1 else [""]


def _figure(key: str, value: float) -> str:
    return f"{value:.1%}" if key in ("accuracy", "macro_f1", "worst_recall") else f"{value:.3f}"
