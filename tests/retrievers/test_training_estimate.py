"""What a training is said to take has a line for each of its steps, and follows the settings."""

import pytest
import toy_training

pytest.importorskip("torch", reason="training needs the extra 'train'")
from dataclasses import replace

from retrievers.training import settings
from retrievers.training.estimate import estimate

pytestmark = pytest.mark.slow(seconds=40)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Settings of a training of ColBERT, and its data, both tiny."""
    start = toy_training.start(tmp_path_factory.mktemp("estimate") / "start")
    options = [f"start={start}", "precision=fp32", "validation=2", "v1.batch=4", "dim=8", "projection=random"]
    return settings.changed(settings.colbert_small(), options), [toy_training.dataset(questions=60, passages=120)]


def test_every_step_has_a_line(made):
    recipe, data = made
    assert [step.step for step in estimate(recipe, data)] == ["pairs", "negatives", "v1", "checkpoint"]


def test_a_hundred_times_the_steps_take_longer(made):
    recipe, data = made
    few, many = (
        next(step.seconds for step in estimate(replace(recipe, v1=replace(recipe.v1, steps=steps)), data) if step.step == "v1")
        for steps in (10, 1000)
    )
    assert many > 10 * few
