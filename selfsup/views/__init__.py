"""Views of an image for a method: crops, colour, blur, batched and on the batch's device."""

from selfsup.views.plan import ViewPlan
from selfsup.views.view import View

__all__ = ["View", "ViewPlan"]
