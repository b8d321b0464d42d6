"""The handwritten digits that scikit-learn carries: real data without a download."""

import torch

from selfsup.data.holdout import hold_out
from selfsup.data.source import ImageArray

TEST = 500


def digits() -> tuple[ImageArray, ImageArray]:
    """1,797 handwritten digits of 8 x 8 pixels (Alpaydin and Kaynak 1998): 1,297 to learn from, 500 to test.

    The split is stratified and always the same. Grey levels 0..16 are scaled to 0..255.

    >>> train, test = digits()
    >>> train.images.shape, len(test), train.classes[:3]
    (torch.Size([1297, 3, 8, 8]), 500, ['0', '1', '2'])
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    grey = torch.from_numpy(data.images).mul(255 / 16).round().to(torch.uint8)
    labels = torch.from_numpy(data.target).long()
    names = [f"digit {i}" for i in range(len(grey))]
    classes = [str(name) for name in data.target_names]

    def part(rows: torch.Tensor) -> ImageArray:
        images = grey[rows, None].repeat(1, 3, 1, 1)
        return ImageArray(images, labels[rows], classes, [names[i] for i in rows.tolist()])

    train, test = hold_out(names, labels, TEST)
    return part(train), part(test)
