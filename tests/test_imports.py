"""Imports run one way, as CONTRIBUTING.md lists the packages, and no two modules wait for each other."""

import ast
import graphlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "selfsup").rglob("*.py"))
}


class Import(NamedTuple):
    """A module that another one imports, and whether as soon as that is imported itself."""

    module: str
    at_once: bool


def order() -> dict[str, int]:
    """The packages and single modules of selfsup, each with its line in the list, from the bottom up."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"Imports run one way.*?^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.split() for line in block.splitlines()]
    names = [name for line in lines for name in line]
    assert len(names) == len(set(names))
    return {name: number for number, line in enumerate(lines) for name in line}


def top(module: str) -> str:
    """The package of selfsup, or the single module, that a module belongs to."""
    return module.split(".")[1] if "." in module else ""


def statements(node: ast.AST, types: bool, at_once: bool = True) -> Iterator[tuple[ast.stmt, bool]]:
    """Import statements, with ``types`` also those for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, at_once
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING") and not types:
            for each in child.orelse:
                yield from statements(ast.Module([each], []), types, at_once)
        else:
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from statements(child, types, at_once and not later)


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@cache
def exported(package: str) -> dict[str, str]:
    """The names that a package takes from its modules, at once or when they are asked for."""
    return {
        alias.asname or alias.name: statement.module
        for statement, _ in statements(tree(package), types=True)
        if isinstance(statement, ast.ImportFrom) and statement.module in MODULES
        for alias in statement.names
    }


def imports(module: str) -> Iterator[Import]:
    for statement, at_once in statements(tree(module), types=False):
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                if alias.name in MODULES:
                    yield Import(alias.name, at_once)
            continue
        assert isinstance(statement, ast.ImportFrom)
        assert not statement.level, f"{module} imports relatively; write selfsup.…"
        if statement.module not in MODULES:
            continue
        for alias in statement.names:
            full = f"{statement.module}.{alias.name}"
            if full in MODULES:
                yield Import(full, at_once)
                continue
            yield Import(statement.module, at_once)
            home = exported(statement.module).get(alias.name)
            if home is not None and MODULES[statement.module].name == "__init__.py":
                yield Import(home, at_once)


def test_the_list_has_every_package_and_nothing_else() -> None:
    assert set(order()) == {top(module) for module in MODULES} - {""}


def test_no_package_imports_one_that_is_listed_later_or_beside_it() -> None:
    place, up = order(), {}
    for module in MODULES:
        for each in imports(module):
            here, there = top(module), top(each.module)
            if "" not in (here, there) and here != there and place[there] >= place[here]:
                up.setdefault(module, set()).add(there)
    assert up == {}


def test_no_circle_of_imports() -> None:
    graph = {
        module: {each.module for each in imports(module) if each.at_once} - {module} for module in MODULES
    }
    assert sum(map(len, graph.values())) > 500
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        raise AssertionError(" <- ".join(error.args[1])) from None
