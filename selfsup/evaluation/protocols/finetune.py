"""Fine-tuning: the encoder, or its attention, trained with labels, with layer-wise decay of the rate."""

from collections.abc import Mapping
from typing import Annotated, Any

from selfsup.evaluation.classifiers.finetuning import predictions, train_whole
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.extract import Features
from selfsup.evaluation.registry import Above, AtMost, Count, Decay, Positive
from selfsup.evaluation.score import Score, absent, accuracy


def score(
    train: Features,
    test: Features,
    *,
    epochs: Count,
    batch: Count,
    rate: Positive,
    weight_decay: Decay,
    layer_decay: Annotated[float, Above(0), AtMost(1)],
    attention_only: bool,
    plan: Mapping[str, Mapping[str, Any]],
    seed: int,
) -> Score:
    """Accuracy after training a copy of the encoder, or of its attention alone, the rest staying as it is.

    Nothing is selected, and the last epoch counts.
    """
    assert train.labels is not None
    assert test.labels is not None
    if train.images is None or test.images is None or train.images.encoder is None:
        raise NoScore("there is no encoder to fine-tune")
    present, target = train.labels.unique(return_inverse=True)
    settings: dict[str, Any] = {
        "epochs": epochs,
        "batch": batch,
        "rate": rate,
        "weight_decay": weight_decay,
        "layer_decay": layer_decay,
        "attention_only": attention_only,
    }
    model = train_whole(
        train.images,
        train.images.encoder,
        train.index,
        target,
        len(present),
        plan=plan,
        seed=seed,
        **settings,
    )
    return accuracy(
        present[predictions(model, test.images, test.index)],
        test.labels,
        seed=seed,
        settings=settings,
        citation="layer-wise decay: Clark et al. 2020, arXiv:2003.10555; recipe after arXiv:2111.06377"
        + ("; only attention: Touvron et al. 2022, arXiv:2203.09795" if attention_only else ""),
        flags=absent(train.labels, test.labels),
    )
