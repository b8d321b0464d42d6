"""What can be reached on digits at all: a support vector machine on the pixels that is told every label.

    python benchmarks/ceiling.py

Its two settings are chosen by five-fold cross-validation on the training images; the test images are looked
at once. Where even its interval holds a control's score, so few images hardly tell anything from it.
The result goes to ``benchmarks/results/ceiling-digits.json``.
"""

from pathlib import Path

import numpy as np
from origin import keep
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

from selfsup.data import ImageArray, digits
from selfsup.evaluation.intervals import wilson

RESULTS = Path(__file__).parent / "results" / "ceiling-digits.json"
CHOICES = {"C": [1, 3, 10, 30, 100], "gamma": [0.01, 0.02, 0.05, 0.1, 0.2, 0.5]}


def pixels(source: ImageArray) -> np.ndarray:
    """Grey levels in [0, 1], (N, 64) of N images."""
    return source.images[:, 0].flatten(1).double().div(255).numpy()


def main() -> None:
    """Choose, learn, judge once."""
    train, test = digits()
    search = GridSearchCV(SVC(), CHOICES, cv=5).fit(pixels(train), train.labels.numpy())
    right = int((search.predict(pixels(test)) == test.labels.numpy()).sum())
    found = {"value": right / len(test), "interval": wilson(right, len(test)), "chosen": search.best_params_}
    print(found)
    keep(RESULTS, {"svm": found})


if __name__ == "__main__":
    main()
