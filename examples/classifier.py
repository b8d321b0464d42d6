"""A classifier on frozen features, by scikit-learn.

    python examples/classifier.py features.parquet

The file is one that 'selfsup embed' or examples/features.py wrote, of images with labels.
"""

import sys

import numpy as np
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

table = pq.read_table(sys.argv[1])
x, y = np.stack(table["features"].to_numpy()), table["label"].to_numpy()
train = table["split"].to_numpy() == "train"
# The strength of the penalty is chosen by cross-validation within the training split.
pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
classifier = GridSearchCV(pipeline, {"logisticregression__C": [0.001, 0.01, 0.1, 1.0]}, cv=3)
classifier.fit(x[train], y[train])
print(f"{classifier.score(x[~train], y[~train]):.1%} of {(~train).sum()} test images are classified right")
