"""What sections must agree on: each may be right by itself, and the whole impossible."""

from __future__ import annotations

from dataclasses import asdict

from components.errors import ParamsError, choices
from components.params.sections import PRETRAINED, Params, Recipe
from components.params.typed import typed


def check(params: Params) -> None:
    """Raises ParamsError for sections that are right by themselves and do not go together."""
    for name in params.strategies:
        _check_entry(params, name)
    _check_competitors(params)
    _check_adaptation(params)
    if params.export.coverage not in params.evaluate.coverages:
        raise ParamsError(
            f"export.coverage is {params.export.coverage:g}, but evaluate.coverages asks for no threshold for it; "
            f"{choices(f'{params.export.coverage:g}', [f'{value:g}' for value in params.evaluate.coverages])}"
        )
    if params.data.recent is not None and params.data.recent.dataset is not None:
        raise ParamsError(
            f"data.recent.dataset is {params.data.recent.dataset!r}, but images that come in are not made here: give "
            "their folder or manifest"
        )
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
    typed(Recipe, {**asdict(params.recipe_defaults()), **competitor.recipe}, prefix=f"{key}.recipe")


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
            # With recent images, the target's labelled ones are a source.
            if "source" in needs and params.data.source is None and params.data.recent is None:
                raise ParamsError(f"strategies.{name} needs source, but data.source is not set")
            _check_needs(params, name)
    if params.students and params.teacher not in (*params.compare, PRETRAINED):
        raise ParamsError(
            f"teacher is {params.teacher!r}, but must be one of compare, or {PRETRAINED!r} for the backbone alone; "
            f"{choices(str(params.teacher), [*params.compare, PRETRAINED])}"
        )


def _check_needs(params: Params, name: str) -> None:
    """Refuses an entry that has not what it needs, but for a source."""
    from components.strategies import catalogue

    competitor = params.competitor(name)
    needs = catalogue.needs(competitor.strategy, competitor.hyper_parameters)
    if {"source", "unlabelled"} <= set(needs) and params.recipe(name).batch_size < 2:
        raise ParamsError(f"strategies.{name} compares two domains in a batch: batch_size must be at least 2")
    if "descriptions" in needs and params.data.attributes is None:
        raise ParamsError(f"strategies.{name} needs descriptions, but data.attributes is not set")
    views = competitor.hyper_parameters.get("views", 1)
    if views > params.embed.views:
        raise ParamsError(
            f"strategies.{name}.views is {views}, but embed.views is {params.embed.views}: set embed.views to "
            f"{views}, or ask for fewer"
        )
    tasks = params.data.tasks or params.data.target.columns.tasks
    if catalogue.STRATEGIES[competitor.strategy].tasks == "all" and not tasks:
        raise ParamsError(f"strategies.{name} learns several tasks, but data.tasks is empty")


def _check_adaptation(params: Params) -> None:
    """Refuses, before anything has changed, who could not compete when it has."""
    from components.strategies import catalogue

    both = (*params.adapt.compare, *params.adapt.supervised)
    for section, names in (("adapt.compare", params.adapt.compare), ("adapt.supervised", params.adapt.supervised)):
        for name in names:
            if name not in params.strategies:
                raise ParamsError(
                    f"{section} names {name!r}, but strategies has no such entry; {choices(name, params.strategies)}"
                )
            if both.count(name) > 1:
                raise ParamsError(f"{section} names {name!r} twice, or adapt.compare and adapt.supervised both do")
            competitor = params.competitor(name)
            needs = catalogue.needs(competitor.strategy, competitor.hyper_parameters)
            if catalogue.TEACHER in needs:
                raise ParamsError(f"{section} names {name!r}, which learns from a teacher: there is none yet")
            if section == "adapt.compare" and "target_labels" in needs:
                raise ParamsError(
                    f"adapt.compare names {name!r}, which needs labels of the recent images: it belongs in "
                    "adapt.supervised"
                )
            if section == "adapt.supervised" and "target_labels" not in needs:
                raise ParamsError(
                    f"adapt.supervised names {name!r}, which has no use for labels of the recent images: it belongs "
                    "in adapt.compare"
                )
            _check_needs(params, name)


def _check_name(name: str) -> None:
    # The name becomes a folder, a DVC stage and a run: keep to what all three accept.
    if not name.replace("_", "").isalnum() or not name.isascii():
        raise ParamsError(f"strategies.{name}: a name may hold letters, digits and '_' only")
    if name in ("pretrain", PRETRAINED, "champion"):
        raise ParamsError(f"strategies.{name}: this name is taken by what the pipeline itself writes; choose another")
