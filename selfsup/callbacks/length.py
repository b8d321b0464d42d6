"""How long a run is: in steps beside those of runs that learned, and in time once it can be measured."""

from math import ceil

# No recorded run of at least so many steps, of so many images in all, is below one of its controls in a
# linear classifier; of the shorter ones, some are: tests/callbacks/test_length.py.
STEPS, IMAGES = 1_000, 64_000


def length(steps: int, an_epoch: int, batch: int, images: int, by_steps: bool) -> str:
    """One line about a run's length: steps, whether they are few to learn from, and the setting for more.

    Args:
        steps: optimizer steps of the whole run.
        an_epoch: optimizer steps of an epoch.
        batch: images a step, over all processes.
        images: to learn from.
        by_steps: whether ``trainer.max_steps`` sets the length, not ``trainer.max_epochs``.

    >>> length(36, 2, 128, 322, by_steps=False)
    '36 optimizer steps; short for learning from 322 images: 1,000 or more are usual, trainer.max_epochs=500'
    >>> length(1500, 10, 128, 1297, by_steps=False)
    '1,500 optimizer steps, 150 epochs'
    """
    said = f"{steps:,} optimizer step{'s' * (steps != 1)}"
    usual = max(STEPS, ceil(IMAGES / batch))
    if steps < usual:
        most = f"short for learning from {images:,} images: {usual:,} or more are usual"
        return f"{said}; {most}, {_setting(usual, an_epoch, by_steps)}"
    if steps < an_epoch:
        return (
            f"{said}; short for learning from {images:,} images, and not all are seen: an epoch has "
            f"{an_epoch:,}, {_setting(an_epoch, an_epoch, by_steps)}"
        )
    return f"{said}, {steps / an_epoch:.3g} epochs"


def _setting(steps: int, an_epoch: int, by_steps: bool) -> str:
    return f"trainer.max_steps={steps}" if by_steps else f"trainer.max_epochs={ceil(steps / an_epoch)}"


def duration(seconds: float) -> str:
    """A time in its two largest units.

    >>> duration(41.2), duration(754), duration(7_500), duration(190_000)
    ('41 s', '13 min', '2 h 5 min', '2 days 5 h')
    """
    minutes = round(seconds / 60)
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} days {hours} h"


def timed_at(steps: int) -> int:
    """The step after which the time of ``steps`` is printed: a fiftieth of them, from 6 to 50.

    The first step, in which code is compiled and memory is taken, is not counted.
    """
    return min(max(6, steps // 50), 50)
