"""Which bundle a predictor was loaded from, by what it answers and not by where it lies."""

from __future__ import annotations

import json

from components.deployment import bundle as bundles
from components.errors import DataError
from components.inference import selection
from components.inference.predictor import METADATA, Predictor


def identity(predictor: Predictor) -> str:
    """Of the bundle in `predictor.bundle`, a folder. Its files were opened one after the other: raises DataError where
    they are not all of one bundle, and where bundle.json says too little."""
    facts = selection.read(predictor.bundle)
    try:
        found, same = bundles.identity(facts), bundles.same_model(facts, predictor.facts)
    except (KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__} {error}"
        raise DataError(f"{predictor.bundle} does not say what it was made from ({why})") from None
    if not same or json.loads(predictor.model.session.metadata[METADATA]) != predictor.facts:
        raise DataError(
            f"{predictor.bundle} describes another model: it was replaced while it was loaded, or put together of two"
        )
    return found
