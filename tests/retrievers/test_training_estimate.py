"""What a training is said to take has a line for each of its steps, and follows the settings."""

import pytest
import toy_training

pytest.importorskip("torch", reason="training needs the extra 'train'")
from dataclasses import replace

from retrievers.training import estimate as estimates
from retrievers.training import settings


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Settings of a training of ColBERT, and its data, both tiny."""
    start = toy_training.start(tmp_path_factory.mktemp("estimate") / "start")
    options = [f"start={start}", "precision=fp32", "validation=2", "v1.batch=4", "dim=8", "projection=random", "doc_maxlen=40", "query_maxlen=16"]
    return settings.changed(settings.colbert_small(), options), [toy_training.dataset(questions=60, passages=120)]


@pytest.mark.slow(seconds=40)
def test_every_step_has_a_line(made):
    recipe, data = made
    assert [step.step for step in estimates.estimate(recipe, data)] == ["pairs", "negatives", "v1", "checkpoint"]


def whole(recipe, data):
    """The whole of a training whose small ones took so long: a second to load, 0.1 for each passage encoded."""
    small = [
        estimates._Tried({"v1": 1 + 0.1 * estimates.STEPS * batch * 2}, 1e6 * batch, {"v1": 5e6}) for batch in estimates.BATCHES[1:]
    ]
    return estimates._Whole(recipe, data, *small)


def test_a_step_takes_as_long_as_its_passages_are_many(made):
    recipe, data = made
    fit = replace(recipe.v1, steps=100, batch=10, nway=2, validate_every=0)
    recipe = replace(recipe, v1=fit, validation=0)
    assert whole(recipe, data).step("v1", {}).seconds == pytest.approx(1 + 0.1 * 100 * 10 * 2)


def test_a_validation_costs_a_third_of_what_training_on_as_many_passages_does(made):
    recipe, data = made
    fit = replace(recipe.v1, steps=100, batch=10, nway=2, validate_every=50)
    recipe = replace(recipe, v1=fit, validation=10, validation_depth=29)
    assert whole(recipe, data).step("v1", {}).seconds == pytest.approx(1 + 0.1 * (2000 + 3 * 10 * 30 / 3))


def test_steps_follow_from_questions_where_none_are_given(made):
    recipe, data = made
    recipe = replace(recipe, v1=replace(recipe.v1, steps=0, batch=10), validation=0, v1_passes=3)
    assert whole(recipe, data).step("v1", {}).seconds == pytest.approx(1 + 0.1 * (60 * 3 // 10) * 10 * 2)
