"""Small rules that a reviewer would otherwise have to remember."""

import ast
import io
import re
import tokenize
from functools import cache

from tests.architecture.source import (
    EVERYTHING,
    OURS,
    Module,
    calls,
    decorated,
    dotted,
    imported,
    modules,
    public,
)

# ── What is written about the code ──


@cache
def comments(module: Module) -> tuple[tuple[int, str], ...]:
    """Every comment and its line."""
    tokens = tokenize.generate_tokens(io.StringIO(module.text).readline)
    return tuple((token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT)


def test_the_source_was_found() -> None:
    assert {module.name for module in modules(*OURS)} >= {"domain/money.py", "db/ledger.py", "worker/main.py"}


def test_a_silenced_type_error_says_which_and_why() -> None:
    silenced = re.compile(r"#\s*type:\s*ignore")
    explained = re.compile(r"# type: ignore\[[a-z-]+(, ?[a-z-]+)*\]\s+[#-]\s*\w.{10,}")

    assert [
        f"{module.name}:{line} {text}"
        for module in modules(*EVERYTHING)
        for line, text in comments(module)
        if silenced.search(text) and not explained.search(text)
    ] == []


def test_a_silenced_lint_says_which_and_why() -> None:
    silenced = re.compile(r"#\s*noqa", re.IGNORECASE)
    explained = re.compile(r"# noqa: [A-Z]+[0-9]+(, ?[A-Z]+[0-9]+)*\s+[#-]\s*\w.{5,}")

    assert [
        f"{module.name}:{line} {text}"
        for module in modules(*EVERYTHING)
        for line, text in comments(module)
        if silenced.search(text) and not explained.search(text)
    ] == []


def test_nothing_is_left_to_do() -> None:
    # Not left to do, but the words that say so: no comment in the tree may hold them.
    promise = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")

    assert [
        f"{module.name}:{line} {text}"
        for module in modules(*EVERYTHING)
        for line, text in comments(module)
        if promise.search(text)
    ] == []


def test_what_is_public_says_what_it_is() -> None:
    undescribed = [
        f"{module.at(node)} {name}"
        for module in modules(*OURS)
        for name, node in public(module.tree.body)
        if not ast.get_docstring(node)
    ]
    undescribed += [
        module.name for module in modules(*OURS) if module.text.strip() and not ast.get_docstring(module.tree)
    ]

    assert undescribed == []


def test_every_member_of_an_enum_says_what_it_means() -> None:
    undescribed = []
    for module in modules(*OURS):
        for node in module.nodes:
            if isinstance(node, ast.ClassDef) and any(dotted(base).endswith("StrEnum") for base in node.bases):
                following = [*node.body[1:], None]
                for member, after in zip(node.body, following, strict=True):
                    said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                    if isinstance(member, ast.Assign) and not said:
                        undescribed.append(f"{module.at(member)} {node.name}.{dotted(member.targets[0])}")

    assert undescribed == []


# ── Where queries are ──

STATEMENT = re.compile(
    r"\s*(SELECT\s|INSERT\s+INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|WITH\s+\w+\s+AS\s|TRUNCATE\s"
    r"|(CREATE|ALTER|DROP|GRANT|REVOKE)\s+(\w+\s+)*(ROLE|DATABASE|TABLE|INDEX|FUNCTION|TRIGGER|ON|TO|%I)\b)"
)
BUILDERS = {"select", "insert", "update", "delete", "text", "exists", "union"}

QUERIES_ELSEWHERE = {
    "api/routes/health.py": "asks whether Postgres answers",
    "cli/bench/backdoor.py": "counts statements and watches operations, as superuser",
    "cli/bench/filling.py": "fills the ledger of a bench's own database, as superuser",
    "cli/bench/postings.py": "updates single rows, to compare postings with",
    "cli/chaos/books.py": "sums the ledger beside the load and looks at what waits, as superuser",
    "cli/stack/postgres.py": "makes the embedded server's logins and its database, before there is a schema",
    "cli/stack/preparation.py": "lets the service's login act as the application's role, as the owner",
}
"""Every module outside `db` that speaks SQL, and why it has to."""


def sql(module: Module) -> list[str]:
    """The places where a module builds or writes a statement."""
    builders = {
        name.rpartition(".")[2] for name, _ in imported(module) if re.fullmatch(r"sqlalchemy(\.\w+)*\.\w+", name)
    } & BUILDERS
    aliases = {
        alias.asname or alias.name
        for node in module.nodes
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name.partition(".")[0] == "sqlalchemy"
    }
    built = {f"{alias}.{builder}" for alias in aliases for builder in BUILDERS} | builders
    found = [module.at(call) for name, call in calls(module) if name in built]
    found += [
        module.at(node)
        for node in module.nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and STATEMENT.match(node.value)
    ]
    return found


def test_queries_are_in_db_alone() -> None:
    elsewhere = [
        place for module in modules(*OURS, "cli") if not module.name.startswith("db/") for place in sql(module)
    ]

    assert [place for place in elsewhere if place.partition(":")[0] not in QUERIES_ELSEWHERE] == []
    assert set(QUERIES_ELSEWHERE) <= {place.partition(":")[0] for place in elsewhere}, "an exception that is none"


def test_db_is_where_queries_are_found() -> None:
    """So that the test above means something."""
    speaking = {module.name for module in modules("db") if sql(module)}

    assert speaking >= {f"db/{name}.py" for name in "ledger operations users inbox outbox stripe_calls migrate".split()}


def test_nothing_below_the_edge_commits() -> None:
    committed = [
        module.at(call)
        for module in modules("db", "domain")
        for name, call in calls(module)
        if name.endswith((".commit", ".rollback"))
    ]

    # Alembic's own transactions are opened here.
    assert [place for place in committed if not place.startswith("db/migrate.py:")] == []


# ── Money ──


FLOATS = {"api/strict_json.py": "reads a number too long for any amount, so that every model refuses it"}
"""Every module that makes floats of what may be money, and why."""


def test_money_is_never_a_float() -> None:
    """Amounts are whole minor units from the request to the entry; only `str(Money)` turns one into decimals."""
    made = []
    for module in modules(*OURS):
        made += [module.at(call) for name, call in calls(module) if name in ("float", "Decimal", "decimal.Decimal")]
        made += [
            module.at(node)
            for node in module.nodes
            if isinstance(node, ast.BinOp)
            and isinstance(node.op, ast.Div)
            and isinstance(node.right, ast.Constant)
            and isinstance(node.right.value, int | float)
        ]

    assert [place for place in made if place.partition(":")[0] not in FLOATS] == []
    assert set(FLOATS) <= {place.partition(":")[0] for place in made}, "an exception that is none"


def test_nothing_called_an_amount_is_typed_as_a_float() -> None:
    money = re.compile(r"(^|_)(amount|balance|fee|gross|net|total|available|escrow|in_transit|price|money)s?($|_)")
    typed: list[str] = []
    for module in modules(*OURS):
        for node in module.nodes:
            name, annotation = "", None
            if isinstance(node, ast.AnnAssign):
                name, annotation = dotted(node.target), node.annotation
            elif isinstance(node, ast.arg):
                name, annotation = node.arg, node.annotation
            if annotation is not None and money.search(name) and "float" in ast.unparse(annotation):
                typed.append(f"{module.name} {name}")

    assert typed == []


# ── What must replay ──

CLOCKS_AND_CHANCE = {"time", "random", "uuid", "secrets", "os", "threading", "socket", "subprocess", "uuid_utils"}
MOMENTS = re.compile(r"(^|\.)(datetime|date)\.(now|utcnow|today)$|^(time|random|uuid|secrets|os)\.|^new_id$")


def test_workflows_take_time_and_chance_from_temporal() -> None:
    taken = []
    for module in modules("workflows"):
        taken += [
            f"{module.at(node)} {name}"
            for name, node in imported(module)
            if name.partition(".")[0] in CLOCKS_AND_CHANCE
        ]
        taken += [f"{module.at(call)} {name}" for name, call in calls(module) if MOMENTS.search(name)]
        taken += [
            f"{module.at(call)} {name}" for name, call in calls(module) if name in ("asyncio.sleep", "asyncio.wait")
        ]

    assert taken == []


def test_a_sagas_module_opens_with_its_diagram() -> None:
    sagas = {
        module.name: ast.get_docstring(module.tree) or ""
        for module in modules("workflows")
        for node in module.tree.body
        if isinstance(node, ast.ClassDef)
        and (node.name == "Saga" or any(dotted(base).endswith("Saga") for base in node.bases))
    }

    assert {"workflows/deposit.py", "workflows/saga.py"} <= set(sagas)
    assert [name for name, docstring in sagas.items() if "──" not in docstring] == []


# ── What Temporal is told of ──


def names(packages: str, decorator: str) -> list[str]:
    """The names under which everything with `decorator` is known to Temporal, as far as the source says."""
    found = []
    for module in modules(packages):
        for definition, written in decorated(module, decorator):
            said = {word.arg: word.value for word in written.keywords} if isinstance(written, ast.Call) else {}
            found.append(ast.unparse(said["name"]).strip("'\"") if "name" in said else definition.name)
    return found


def test_every_activity_and_workflow_has_a_name_of_its_own() -> None:
    activities, workflows = names("activities", "activity.defn"), names("workflows", "workflow.defn")

    assert len(activities) > 10
    assert len(workflows) > 3
    assert sorted(set(activities)) == sorted(activities)
    assert sorted(set(workflows)) == sorted(workflows)


def test_every_workflow_is_named_by_a_word_that_renaming_its_class_does_not_change() -> None:
    unnamed = [
        f"{module.at(definition)} {definition.name}"
        for module in modules("workflows")
        for definition, written in decorated(module, "workflow.defn")
        if not (isinstance(written, ast.Call) and any(word.arg == "name" for word in written.keywords))
    ]

    assert unnamed == []


def test_the_worker_serves_every_activity_and_workflow() -> None:
    [main] = [module for module in modules("worker") if module.name == "worker/main.py"]
    served = {
        dotted(element).rpartition(".")[2]
        for _, call in calls(main)
        for word in call.keywords
        if word.arg == "activities" and isinstance(word.value, ast.List)
        for element in word.value.elts
    }
    known = {
        definition.name for module in modules("activities") for definition, _ in decorated(module, "activity.defn")
    }
    listed = {
        dotted(element)
        for node in main.tree.body
        if isinstance(node, ast.Assign) and dotted(node.targets[0]) == "WORKFLOWS" and isinstance(node.value, ast.Tuple)
        for element in node.value.elts
    }
    defined = {
        definition.name for module in modules("workflows") for definition, _ in decorated(module, "workflow.defn")
    }

    assert served == known
    assert listed == defined
