import pytest
import torch

from selfsup.config import load_config
from selfsup.evaluation import NoScore, evaluate, rotation

from .toys import ToyEncoder, coloured, gaussian


def turned(images, width, strength, seed=0):
    """Features of images in four turns, which move them along one direction each."""
    signs = torch.eye(4, width) * strength
    noise = 0.3 * gaussian(4 * images, width, 9).view(4, images, width)
    return gaussian(images, width, seed) + signs[:, None] + noise


def test_the_more_the_features_know_the_better_the_turn_is_told():
    accuracies = [rotation(turned(200, 12, strength)).accuracy for strength in (0, 2, 8)]
    assert accuracies[0] < 0.45
    assert accuracies[0] < accuracies[1] < accuracies[2]
    assert accuracies[2] > 0.95


def test_no_image_is_both_trained_and_judged_on():
    """Features that tell each image from all others, and its turn by a code of its own, teach nothing."""
    images, width = 60, 240
    features = torch.eye(width).view(4, images, width)
    found = rotation(features)
    assert (found.fitted, found.judged) == (36, 12)
    assert found.accuracy == 0.25


def test_the_interval_is_over_images():
    found = rotation(turned(200, 12, 2))
    assert found.interval[0] < found.accuracy < found.interval[1]
    assert found.judged == 40
    # Four copies of an image are not four samples: no narrower than so many images allow.
    shares = found.interval[1] - found.interval[0]
    assert shares > 1.9 * 1.96 * (found.accuracy * (1 - found.accuracy) / 160) ** 0.5


def test_it_repeats():
    features = turned(60, 12, 2)
    assert rotation(features) == rotation(features)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int64])
def test_other_types(dtype):
    assert rotation((10 * turned(60, 12, 20)).to(dtype)).accuracy == 1


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (torch.ones(4, 20, 3), "same"),
        (gaussian(36, 3).view(4, 9, 3), "9 images are too few"),
        (torch.zeros(4, 0, 3), "0 images are too few"),
        (torch.full((4, 20, 3), torch.inf), "finite"),
    ],
)
def test_what_has_no_score(features, words):
    with pytest.raises(NoScore, match=words):
        rotation(features)


@pytest.mark.parametrize("shape", [(20, 3), (3, 20, 3)])
def test_features_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"\(4, N, D\)"):
        rotation(torch.zeros(shape))


@pytest.mark.parametrize("same", [False, True])
def test_images_without_an_upright_have_no_turn_to_tell(same):
    config = load_config("evaluate", ["encoder=run", "protocols=[rotation]", f"data.turns={same}"])
    encoder, settings = ToyEncoder(), config["protocols"]
    found = evaluate(encoder, coloured(60), coloured(20), config["data"], protocols=settings, controls=False)
    reason = found["rows"][0]["scores"]["rotation"].get("reason") or ""
    assert ("data.turns=true" in reason) == same
