"""What a method sees of an image: crops, colour, blur, batched and on the batch's device."""

from selfsup.views.plan import ViewPlan
from selfsup.views.view import View

__all__ = ["View", "ViewPlan"]
