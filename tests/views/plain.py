"""A view that leaves the image as it is."""

from typing import Any

PLAIN: dict[str, Any] = {
    "count": 1,
    "size": 1.0,
    "scale": [1.0, 1.0],
    "ratio": [1.0, 1.0],
    "mirror": 0.0,
    "jitter": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
    "grey": 0.0,
    "blur": 0.0,
    "sigma": [0.1, 2.0],
    "recipe_size": 224,
    "solarize": 0.0,
}
