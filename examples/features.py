"""Features of a folder's images: a Parquet file, and back as an array.

    python examples/features.py runs/latest/encoder my/images features.parquet

The command line does the same: selfsup embed encoder=runs/latest/encoder data=folder data.root=my/images
"""

import sys

import numpy as np
import pyarrow.parquet as pq

from selfsup.commands import main

encoder, images, out = sys.argv[1:]
status = main(["embed", f"encoder={encoder}", "data=folder", f"data.root={images}", f"out={out}"])
if status != 0:
    sys.exit(status)
table = pq.read_table(out)  # name, split, label (null without class folders), features
features = np.stack(table["features"].to_numpy())
print(features.shape, features.dtype, table["name"][0])
