"""What lets all workflows of a process share their modules, which Temporal's sandbox would import anew for each run.

The sandbox does so for two reasons: to refuse what would not replay, and to keep one run's state from another. These
rules hold the source to both. (`test_rules.py` has those on time and chance.)
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.source import Definition, Module, calls, imported, modules

REPLAYS = {"abc", "asyncio", "collections.abc", "dataclasses", "datetime", "typing"}
"""What of Python workflows may import: nothing here asks the machine, but by calls that `test_rules.py` finds."""

OURS_AND_TEMPORALS = ("temporalio", "activities", "domain", "workflows")

CHANGES = {*"append extend insert add update setdefault pop popitem remove discard clear sort reverse".split()}
"""The methods by which what a name stands for becomes something else."""

MUTABLE = ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp


def rooted(node: ast.AST) -> str | None:
    """The name at the root of `name.attribute[key]`."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def lasting(module: Module) -> set[str]:
    """The names in a module that outlive a run: its globals, its classes, what it imported."""
    found = {name.rpartition(".")[2] for name, _ in imported(module)} | {"cls"}
    for node in module.tree.body:
        if isinstance(node, Definition):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            found |= {name for target in changed(node) if (name := rooted(target)) is not None}
    return found


def changed(node: ast.AST) -> list[ast.expr]:
    """What a statement assigns to or deletes."""
    if isinstance(node, ast.Assign | ast.Delete):
        return node.targets
    return [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else []


def kept(module: Module) -> Iterator[str]:
    """Where a module changes what outlives the run that changes it."""
    names = lasting(module)
    for node in module.nodes:
        if isinstance(node, ast.Global):
            yield module.at(node)
        for target in changed(node):
            if isinstance(target, ast.Attribute | ast.Subscript) and rooted(target) in names:
                yield module.at(target)
        if isinstance(node, ast.ClassDef):
            for each in node.body:
                if isinstance(each, ast.Assign | ast.AnnAssign) and isinstance(each.value, MUTABLE):
                    yield module.at(each)
    for name, call in calls(module):
        owner, _, method = name.rpartition(".")
        if method in CHANGES and owner.partition(".")[0] in names:
            yield module.at(call)


def test_workflows_import_nothing_that_asks_the_machine() -> None:
    imports = [
        (module.at(node), (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name)
        for module in modules("workflows")
        for node in module.nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]

    assert imports
    assert [
        f"{at} {name}"
        for at, name in imports
        if name.partition(".")[0] not in OURS_AND_TEMPORALS and name not in REPLAYS
    ] == []


def test_workflows_keep_nothing_between_runs() -> None:
    assert [place for module in modules("workflows") for place in kept(module)] == []


class Planted(Module):
    """A file outside the repository."""

    @property
    def name(self) -> str:
        """Its own name alone."""
        return self.path.name


def test_what_is_kept_between_runs_is_found(tmp_path: Path) -> None:
    """So that the test above means something."""
    (tmp_path / "planted.py").write_text(
        """
from domain import tables
SEEN = []
COUNT = {"n": 0}

class Saga:
    heard = []

    def run(self):
        global LAST
        LAST = 1
        SEEN.append(1)
        COUNT["n"] += 1
        Saga.heard = [2]
        tables.ALL.update({})
        self.mine = []
        self.mine.append(3)
"""
    )

    places = sorted(int(place.rpartition(":")[2]) for place in kept(Planted(tmp_path / "planted.py")))

    assert places == [7, 10, 12, 13, 14, 15]
