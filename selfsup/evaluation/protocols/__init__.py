"""A protocol a file, but for those of one score: `score` is beside that, in label_free/ or classifiers/."""
