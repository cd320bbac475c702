"""The service asked for all that its OpenAPI allows and forbids, and for what is malformed on purpose.

    python -m benchmarks.fuzzing                     (pip install schemathesis)
    python -m benchmarks.fuzzing --parts malformed
    python -m benchmarks.fuzzing --table

Three models (topic and entities by n-grams, the embedded recognizer) and a store are served by a process of their own.
`openapi`: schemathesis makes requests out of /openapi.json, half of them such as it allows, half of them not, for each
path in turn; half of either name a served model and hold a text, so that they get as far as the model. Counted are
server errors (5xx but 503, which is announced) and answers that the OpenAPI does not tell of: another status, kind,
header or shape. `malformed`: each payload of `malformed.everything` must be refused (4xx) with a reason, and the
service must answer afterwards.
Results go to `results/fuzzing.json`, part by part.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from benchmarks import kept
from benchmarks.malformed import everything, png

FILE, PORT, PARTS = "fuzzing.json", 8721, ("openapi", "malformed")
MODELS = ("mails", "names", "heard")
URL = f"http://127.0.0.1:{PORT}"
ROUND = 50  # examples of a path, of one kind, before the next path has its turn


@contextmanager
def served(folder: Path) -> Iterator[int]:
    """The process of a service that answers, with what it said in `folder`/said.txt."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    for task, name in (("topic", "mails"), ("entities", "names")):
        rows = f"examples/rows/{task}/train.jsonl"
        made = ["fit", task, rows, "--method", "ngrams", "--out", str(folder / name)]
        subprocess.run([sys.executable, "-m", "lowrung", *made], env=environment, check=True, capture_output=True)
    models = [str(folder / "mails"), str(folder / "names"), "heard=speech"]
    told = ["serve", *models, "--port", str(PORT), "--store", f"sqlite:///{folder / 'store.db'}", "--patience", "30"]
    with (folder / "said.txt").open("w") as said:
        process = subprocess.Popen([sys.executable, "-m", "lowrung", *told], env=environment, stdout=said, stderr=said)
    try:
        _until_ready()
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _until_ready() -> None:
    import httpx2

    for _ in range(600):
        try:
            if httpx2.get(f"{URL}/readyz", timeout=5).status_code == 200:
                return
        except httpx2.HTTPError:
            time.sleep(0.2)
    raise RuntimeError(f"nothing answers at {URL}")


class Seen:
    """What the answers were."""

    def __init__(self) -> None:
        self.asked, self.codes, self.paths = 0, Counter[str](), Counter[str]()
        self.errors, self.disagreements = dict[str, dict[str, Any]](), dict[str, dict[str, Any]]()

    def found(self, where: dict[str, dict[str, Any]], what: str, example: str) -> None:
        where.setdefault(what, {"times": 0, "example": example[:400]})["times"] += 1

    def told(self) -> dict[str, Any]:
        return {
            "examples": self.asked,
            "server_errors": sum(each["times"] for each in self.errors.values()),
            "disagreements": sum(each["times"] for each in self.disagreements.values()),
            "codes": dict(sorted(self.codes.items())),
            "paths": dict(self.paths),
            "errors": self.errors,
            "disagreeing": self.disagreements,
        }


def openapi(examples: int, seconds: float) -> dict[str, Any]:
    """Ask until there were so many examples, or the time is over."""
    import requests
    import schemathesis
    from schemathesis import GenerationMode

    schema, seen, end = schemathesis.openapi.from_url(f"{URL}/openapi.json"), Seen(), time.monotonic() + seconds
    operations = [each.ok() for each in schema.get_all_operations()]
    session, number = requests.Session(), 0
    while seen.asked < examples and time.monotonic() < end:
        for operation in operations:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                if seen.asked < examples and time.monotonic() < end:
                    _some(operation, mode, number, seen, session)
        number += 1
        print(json.dumps({"asked": seen.asked, "errors": seen.told()["server_errors"]}), flush=True)
    return seen.told()


def _some(operation: Any, mode: Any, number: int, seen: Seen, session: Any) -> None:
    """One round of examples of one path."""
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from hypothesis.errors import Unsatisfiable
    from schemathesis.specs.openapi import checks

    chance = Random(number)
    agreeing: list[Callable[..., Any]] = [
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_headers_conformance,
        checks.response_schema_conformance,
    ]

    @seed(number)
    @settings(
        max_examples=ROUND,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def asks(case: Any) -> None:
        import requests

        seen.asked += 1
        if chance.random() < 0.5:
            _filled(case, chance)
        seen.paths[operation.label] += 1
        try:
            answer = case.call(session=session, timeout=60)
        except requests.ConnectionError as problem:
            seen.found(seen.errors, f"{operation.label}: no answer", f"{case.as_curl_command()}: {problem}")
            return
        code = answer.status_code
        seen.codes[str(code)] += 1
        if code >= 500 and code != 503:
            seen.found(seen.errors, f"{operation.label}: {code}", case.as_curl_command())
        try:
            case.validate_response(answer, checks=agreeing)
        except BaseExceptionGroup as group:
            for each in group.exceptions:
                title = str(getattr(each, "title", type(each).__name__))
                seen.found(seen.disagreements, f"{operation.label}: {title} ({code})", case.as_curl_command())

    try:
        asks()
    except Unsatisfiable:  # a path that nothing wrong can be said to
        return


def _filled(case: Any, chance: Random) -> None:
    """Put a served model into a request, and a text and an answer into its rows, where it has a place for them."""
    body, name = case.body, chance.choice(MODELS)
    if isinstance(case.path_parameters, dict) and "name" in case.path_parameters:
        case.path_parameters["name"] = name
    if isinstance(case.query, dict) and case.operation.method.upper() == "GET" and "model" in case.query:
        case.query["model"] = name
    if not isinstance(body, dict):
        return
    if "inputs" not in body:
        body["model"] = name
    rows = [body.get("row"), *(body["rows"] if isinstance(body.get("rows"), list) else [])]
    for row in rows:
        if isinstance(row, dict):
            row["text"] = json.dumps({key: value for key, value in row.items() if key != "text"})[:2000]
    if "correction" in body and chance.random() < 0.5:
        body["correction"] = {"label": chance.choice(("billing", "feedback"))} if name == "mails" else []


def malformed(folder: Path, process: int) -> dict[str, Any]:
    import httpx2

    existing = folder / "picture.png"
    existing.write_bytes(png())
    asked, codes, wrong = 0, Counter[str](), dict[str, str]()
    with httpx2.Client(base_url=URL, timeout=120) as client:
        for each in everything(str(existing)):
            asked += 1
            try:
                found = client.request(each.method, each.path, headers=each.headers, content=each.body)
            except httpx2.HTTPError as problem:
                wrong[each.name] = f"no answer: {problem!r}"
                continue
            codes[str(found.status_code)] += 1
            try:
                why = found.json()["error"]
            except (ValueError, KeyError, TypeError):
                why = ""
            if not (400 <= found.status_code < 500 and why and found.status_code != 429):
                wrong[each.name] = f"{found.status_code}: {found.text[:200]}"
        alive = client.post("/v1/answer", json={"model": "mails", "row": {"text": "charged twice"}}).status_code == 200
    status = Path(f"/proc/{process}/status").read_text()
    peak = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    return {
        "payloads": asked,
        "not_refused": len(wrong),
        "answers_afterwards": alive,
        "peak_megabytes": round(peak, 1),
        "codes": dict(sorted(codes.items())),
        "wrong": wrong,
    }


def table(found: dict[str, Any]) -> str:
    lines = []
    if part := found.get("openapi"):
        lines.append(["openapi", part["examples"], part["server_errors"], part["disagreements"]])
    if part := found.get("malformed"):
        lines.append(
            ["malformed", part["payloads"], sum(n for c, n in part["codes"].items() if c >= "5"), part["not_refused"]]
        )
    return kept.table(["part", "requests", "server errors", "answered otherwise than promised"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask the service for what it may not know.")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=3600, help="after which `openapi` asks no more")
    parser.add_argument("--table", action="store_true", help="print what is there and measure nothing")
    parser.add_argument("--quick", action="store_true", help="see that it works: few requests, nothing is kept")
    asked = parser.parse_args()
    path = kept.place(FILE, quick=asked.quick)
    if not asked.table:
        with tempfile.TemporaryDirectory() as scratch, served(Path(scratch)) as process:
            for part in asked.parts:
                examples = 500 if asked.quick else asked.examples
                found = openapi(examples, asked.seconds) if part == "openapi" else malformed(Path(scratch), process)
                kept.put(path, part, found)
            said = (Path(scratch) / "said.txt").read_text()
            if "Traceback" in said:
                print(said[-20_000:], file=sys.stderr)
    print(table(json.loads(path.read_text("utf-8"))) if path.exists() else "nothing was measured yet")


if __name__ == "__main__":
    main()
