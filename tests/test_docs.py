"""Every block in README.md and docs/ runs.

A file's ```python, ```console and ```bash blocks run in order in one temporary folder that holds a copy of examples/;
the python blocks share one namespace. Of a console block the lines after `$ ` run, of a bash block all lines; the
exit status is 0, or 2 where the fence says `fails`. `make …` lines must name an existing verb and do not run. A file
with a block after `<!-- slow -->` has two tests: one passes over such blocks, the other (marked slow) runs them all.
Other fences (```text, ```json, …) show, and do not run.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lowrung.cli import help as verbs_help
from lowrung.cli import parser

ROOT = Path(__file__).parent.parent
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"(?P<slow><!-- slow -->\n+)?^(?P<indent> *)```(?P<info>[^\n]*)\n(?P<body>.*?)^ *```$", re.M | re.S)
VERBS = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))


@dataclass(frozen=True)
class Block:
    line: int  # of the fence, counted from 1
    words: list[str]
    body: str
    slow: bool

    @property
    def script(self) -> str:
        """The block's commands; a command that ends in `\\` goes on in the next line."""
        if self.words[0] == "bash":
            return self.body
        return "".join(re.findall(r"^\$ ((?:[^\n]*\\\n)*[^\n]*\n)", self.body, re.M))


def _blocks(text: str) -> list[Block]:
    found = []
    for each in FENCE.finditer(text):
        line = text.count("\n", 0, each.start("info")) + 1
        words = each["info"].split() or ["text"]
        runs = words[0] in ("python", "console", "bash")
        assert not (runs and each["indent"]), f"line {line}: a block that runs starts at the left margin"
        if runs:
            found.append(Block(line, words, each["body"], each["slow"] is not None))
    return found


def _cases() -> list[Any]:
    cases = []
    for file in FILES:
        cases.append(pytest.param(file, False, id=file.name))
        if any(block.slow for block in _blocks(file.read_text())):
            cases.append(pytest.param(file, True, id=f"{file.name}-slow", marks=pytest.mark.slow))
    return cases


def _run_script(script: str, folder: Path, status: int) -> None:
    lines = script.splitlines(keepends=True)
    for verb in re.findall(r"^make\s+(\S+)", script, re.M):
        assert verb in VERBS, f"the Makefile has no verb {verb!r}"
    rest = "".join(line for line in lines if not line.startswith("make "))
    if not rest.strip():
        return
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", rest],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == status, f"exit status {done.returncode}\n{rest}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize(("file", "slow"), _cases())
def test_blocks_run(file: Path, slow: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if (ROOT / "examples").is_dir():
        shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in _blocks(file.read_text()):
        if block.slow and not slow:
            continue
        if block.words[0] == "python":
            code = "\n" * block.line + block.body  # so that a traceback names the line of the page
            exec(compile(code, str(file), "exec"), namespace)
        else:
            _run_script(block.script, tmp_path, status=2 if "fails" in block.words else 0)


PAGE = """
```python
x = 1
```

<!-- slow -->
```console fails
$ echo a \\
  b
a b
$ exit 2
```
```text
$ false
```
"""


def test_a_page_is_taken_apart_as_promised() -> None:
    python, console = _blocks(PAGE)
    assert (python.body, python.slow, python.line) == ("x = 1\n", False, 2)
    assert (console.script, console.slow, console.words) == ("echo a \\\n  b\nexit 2\n", True, ["console", "fails"])


@pytest.mark.parametrize(("script", "status"), [("false\ntrue\n", 0), ("true\n", 2), ("make nonsense\n", 0)])
def test_a_block_that_does_otherwise_fails(script: str, status: int, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        _run_script(script, tmp_path, status)


def _sections(page: str) -> dict[str, str]:
    """Verb → the section of the page that is headed by it; one heading may name several."""
    found = {}
    for each in re.split(r"^## ", (ROOT / "docs" / page).read_text(), flags=re.M)[1:]:
        heading, _, body = each.partition("\n")
        found |= dict.fromkeys(re.findall(r"lowrung (\w+)", heading), body)
    return found


@pytest.mark.parametrize("verb", verbs_help.VERBS)
def test_the_page_of_the_command_line_has_every_verb_and_option(verb: str) -> None:
    _, verbs = parser._parsers()
    of_verb = {each for action in verbs[verb]._actions for each in action.option_strings if each.startswith("--")}
    told = set(re.findall(r"(?<![\w-])--[a-z-]+", _sections("command-line.md")[verb]))
    assert of_verb - {"--help", "--debug"} - told == set(), "not on the page"
    assert told - of_verb == set(), "not an option of this verb"
