"""Stand in for the standard library's `ssl`, and let `python -m ssl.train` find its launcher beside it.

With the repository root on the path this folder comes before the TLS module of the same name, which
`urllib`, `asyncio`, `requests` and `wandb` need. So the package becomes that module: everything in
`ssl` is there as without this folder, and `__path__` still leads to the launchers.
"""


def _become_the_standard_module() -> None:
    import os
    import sys
    from importlib.machinery import PathFinder

    # Beside `os` and nowhere else: a search of the whole path could find another checkout of this
    # folder, whose search would find this one.
    spec = PathFinder.find_spec(__name__, [os.path.dirname(os.__file__)])
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"no module named {__name__!r} in the standard library", name=__name__)
    module = sys.modules[__name__]
    # `__spec__` and `__path__` stay this package's: submodules, `runpy` and `reload` go by them.
    # `__file__` must lead to the source of the classes: `inspect` goes by that.
    module.__file__ = spec.origin
    spec.loader.exec_module(module)  # in this very module, so that pickles and enumerations find it


_become_the_standard_module()
del _become_the_standard_module
