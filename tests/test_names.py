"""A module's name means the module: no package gives it to a function, and public names can be had."""

import importlib
import pkgutil
from functools import partial
from types import ModuleType

import pytest

import selfsup

MODULES = [
    found.name
    for found in pkgutil.walk_packages(selfsup.__path__, "selfsup.")
    if not found.name.endswith(".__main__")
]
PACKAGES = [found.name for found in pkgutil.walk_packages(selfsup.__path__, "selfsup.") if found.ispkg]


def test_there_are_modules() -> None:
    assert len(MODULES) > 200
    assert {"selfsup.data", "selfsup.evaluation", "selfsup.encoder"} < set(PACKAGES)


@pytest.mark.parametrize("name", MODULES)
def test_a_package_has_each_module_under_its_name(name: str) -> None:
    module = importlib.import_module(name)
    package, _, own = name.rpartition(".")
    found = getattr(importlib.import_module(package), own, module)
    assert isinstance(found, ModuleType), f"{name} is hidden by {found!r}"
    assert found is module


@pytest.mark.parametrize("name", ["selfsup", *PACKAGES])
def test_public_names_can_be_had_and_hide_no_module(name: str) -> None:
    package = importlib.import_module(name)
    public = getattr(package, "__all__", [])
    modules = {found.name for found in pkgutil.iter_modules(package.__path__)}
    for each in public:
        assert hasattr(package, each), f"{name}.__all__ has {each}, which is nowhere"
        if (
            each in modules
        ):  # asked of a lazy package's own function, as an imported module hides what it gives
            found = vars(package).get("__getattr__", partial(getattr, package))(each)
            assert isinstance(found, ModuleType), f"{name}.{each} would hide a module"
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        package.no_such_name  # noqa: B018
