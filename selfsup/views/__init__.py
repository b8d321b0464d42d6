"""What a method sees of an image: crops, colour, blur, batched and on the batch's device."""

from selfsup.views.image.view import View
from selfsup.views.plan import ViewPlan

__all__ = ["View", "ViewPlan"]
