"""Views of an image for a method: crops, colour, blur, batched and on the batch's device."""

from selfsup.views.image.view import View
from selfsup.views.plan import ViewPlan, view_kinds

__all__ = ["View", "ViewPlan", "view_kinds"]
