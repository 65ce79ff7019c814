"""Paysaga's own source, as trees."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]

OURS = ("domain", "db", "activities", "workflows", "api", "worker")
"""What runs in production."""
EVERYTHING = (*OURS, "cli", "stripe_sandbox", "tests")

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file."""

    path: Path

    @property
    def name(self) -> str:
        """As messages call it: `db/ledger.py`."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        """As it is written."""
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        """As it is parsed."""
        return ast.parse(self.text, filename=self.name)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All of the tree."""
        return list(ast.walk(self.tree))

    def at(self, node: ast.expr | ast.stmt) -> str:
        """Where something stands, for a message that an editor can follow."""
        return f"{self.name}:{node.lineno}"


@cache
def modules(*packages: str) -> tuple[Module, ...]:
    """Every module of these packages."""
    return tuple(Module(path) for package in packages for path in sorted((ROOT / package).rglob("*.py")))


def public(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, Definition]]:
    """What somebody else may use: functions, classes and their methods."""
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{node.name}.")


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an expression that is one; else nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def calls(module: Module) -> Iterator[tuple[str, ast.Call]]:
    """Every call, with the name of what is called."""
    for node in module.nodes:
        if isinstance(node, ast.Call):
            yield dotted(node.func), node


def imported(module: Module) -> Iterator[tuple[str, ast.stmt]]:
    """Every module that is imported, and every name out of one: `time`, `datetime.datetime`."""
    for node in module.nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{alias.name}", node) for alias in node.names)


def decorated(module: Module, decorator: str) -> Iterator[tuple[Definition, ast.expr]]:
    """Everything under `@decorator` or `@decorator(…)`."""
    for node in module.nodes:
        if isinstance(node, Definition):
            for each in node.decorator_list:
                if dotted(each.func if isinstance(each, ast.Call) else each) == decorator:
                    yield node, each
