"""The mean and standard deviation of images where nothing says what they are."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def usual_statistics(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """ImageNet's, of values in [0, 1]; unless there are three channels, their average for each.

    >>> usual_statistics(1)
    ((0.449,), (0.226,))
    """
    if channels == 3:
        return IMAGENET_MEAN, IMAGENET_STD
    mean, std = (round(sum(values) / 3, 3) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (mean,) * channels, (std,) * channels
