"""The service beside LitServe on the same weights, under load, overload and for long.

    python -m benchmarks.serving                     (two cores: the service on the first, who asks on the second)
    python -m benchmarks.serving --parts throughput --seconds 30
    python -m benchmarks.serving --table

`throughput`: a MiniLM topic model, texts of 5 to 60 words, 32 clients that each ask again as soon as they are
answered; lowrung, lowrung with `--fast`, and LitServe (pip install litserve; its own batching, at most 32 in 5 ms, the
body by transformers in torch) take turns, each twice, and the second turn counts. All may wait as long as they like.
`overload`: requests come at 4 times the rate that was answered, whether others are answered or not. `memory`: that of
the process over 50,000 requests.
Results go to `results/serving.json`, part by part.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import kept

FILE, CLIENTS = "serving.json", 32
PORTS = {"lowrung": 8701, "lowrung --fast": 8703, "litserve": 8702}
WORDS = (
    "the order parcel invoice was charged twice late again please help me find my card account refund door today "
    "courier broken lamp price return thank you very much where is it not working app password email address change"
).split()
LITSERVE = """
import sys, json
import litserve, torch
from transformers import AutoModel, AutoTokenizer
from safetensors.torch import load_file

folder, body = sys.argv[1:3]
state = load_file(folder + "/model.safetensors")
options = json.load(open(folder + "/lowrung.json"))["model"]["options"]


class Topic(litserve.LitAPI):
    def setup(self, device):
        torch.set_num_threads(1)
        self.tokenizer, self.body = AutoTokenizer.from_pretrained(body), AutoModel.from_pretrained(body).eval()
        self.matrix = state["head.trust"] * state["head.names"] + state["head.shift"]

    def decode_request(self, request):
        return request["text"]

    def batch(self, inputs):
        return inputs

    def unbatch(self, output):
        return output

    @torch.inference_mode()
    def predict(self, texts):
        given = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        states, mask = self.body(**given).last_hidden_state, given["attention_mask"][..., None].float()
        pooled = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
        shares = (10.0 * pooled @ self.matrix.T + state["head.bias"]).div(state["head.temperature"]).softmax(-1)
        return [(options[at], share) for share, at in zip(*(each.tolist() for each in shares.max(-1)))]

    def encode_response(self, output):
        return {"answer": output[0], "confidence": output[1]}


if __name__ == "__main__":
    server = litserve.LitServer(Topic(max_batch_size=32, batch_timeout=0.005), accelerator="cpu", workers_per_device=1)
    server.run(port=int(sys.argv[3]), log_level="warning", generate_client_file=False)
"""


def model(folder: Path) -> Path:
    """A probe on the embedded body, fitted to the bundled rows."""
    from lowrung import fit, read_rows

    fit("topic", read_rows("examples/rows/topic", split="train"), method="probe", out=folder / "topic")
    return folder / "topic"


@contextmanager
def served(tool: str, folder: Path, patience: float = 1.0) -> Iterator[tuple[str, int]]:
    """(address, process) of a service that answers, on the first core."""
    port, environment = PORTS[tool], {**os.environ, "OMP_NUM_THREADS": "1"}
    with socket.socket() as other:
        if other.connect_ex(("127.0.0.1", port)) == 0:  # it would be measured in place of this one
            raise RuntimeError(f"something else listens at port {port}")
    if tool.startswith("lowrung"):
        command = [sys.executable, "-m", "lowrung", "serve", str(folder), "--port", str(port)]
        command += ["--patience", str(patience), *tool.split()[1:]]
    else:
        from lowrung.models.catalog import _minilm

        program = folder.parent / "lit.py"
        program.write_text(LITSERVE, "utf-8")
        command = [sys.executable, str(program), str(folder), str(_minilm()), str(port)]
    process = subprocess.Popen(["taskset", "-c", "0", *command], env=environment, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}" + ("/v1/answer" if tool.startswith("lowrung") else "/predict")
        asyncio.run(_ready(url, tool))
        yield url, process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def body(tool: str, text: str) -> dict[str, Any]:
    return {"row": {"text": text}} if tool.startswith("lowrung") else {"text": text}


async def _ready(url: str, tool: str) -> None:
    import httpx2

    async with httpx2.AsyncClient() as client:
        for _ in range(600):
            try:
                if (await client.post(url, json=body(tool, "ready?"), timeout=10)).status_code == 200:
                    return
            except httpx2.HTTPError:
                pass
            await asyncio.sleep(0.2)
    raise RuntimeError(f"{tool} does not answer at {url}")


def texts(number: int, seed: int) -> list[str]:
    made = random.Random(seed)
    return [" ".join(made.choices(WORDS, k=made.randint(5, 60))) for _ in range(number)]


async def closed(url: str, tool: str, seconds: float, most: int = 0) -> dict[str, Any]:
    """`CLIENTS` that ask again as soon as they are answered, for some seconds or until there are `most` answers."""
    import httpx2

    given, waits, codes = texts(5000, 1), list[float](), Counter[int]()
    end = time.perf_counter() + seconds

    async with httpx2.AsyncClient(limits=httpx2.Limits(max_connections=CLIENTS), timeout=60) as client:

        async def asks(number: int) -> None:
            at = number
            while time.perf_counter() < end and not (most and len(waits) >= most):
                begun = time.perf_counter()
                found = await client.post(url, json=body(tool, given[at % len(given)]))
                waits.append(time.perf_counter() - begun)
                codes[found.status_code] += 1
                at += CLIENTS

        begun = time.perf_counter()
        await asyncio.gather(*(asks(number) for number in range(CLIENTS)))
        took = time.perf_counter() - begun
    return told(waits, codes) | {"per_second": round(codes[200] / took, 1)}


async def opened(url: str, rate: float, seconds: float) -> dict[str, Any]:
    """Requests at a rate, whether others are answered or not; waits are those of answered ones."""
    import httpx2

    given, waits, codes = texts(5000, 2), list[float](), Counter[int]()
    async with httpx2.AsyncClient(limits=httpx2.Limits(max_connections=2000, keepalive_expiry=2), timeout=60) as client:

        async def ask(at: int) -> None:
            begun = time.perf_counter()
            found = await client.post(url, json=body("lowrung", given[at % len(given)]))
            codes[found.status_code] += 1
            if found.status_code == 200:
                waits.append(time.perf_counter() - begun)

        tasks, begun = list[asyncio.Task[None]](), time.perf_counter()
        for at in range(int(rate * seconds)):
            await asyncio.sleep(max(begun + at / rate - time.perf_counter(), 0))
            tasks.append(asyncio.create_task(ask(at)))
        await asyncio.gather(*tasks)
        took = time.perf_counter() - begun
    return told(waits, codes) | {"asked": int(rate * seconds), "per_second": round(codes[200] / took, 1)}


def told(waits: list[float], codes: Counter[int]) -> dict[str, Any]:
    ordered = sorted(waits)
    at = {
        f"p{share}": round(1000 * ordered[min(int(share / 100 * len(ordered)), len(ordered) - 1)], 1)
        for share in (50, 99)
    }
    return {"answered": codes[200], **at, "codes": {str(code): number for code, number in codes.items()}}


def memory(process: int) -> float:
    """Resident megabytes."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


def throughput(folder: Path, seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for turn in range(2):
        for tool in PORTS:
            with served(tool, folder, patience=5.0) as (url, _):
                asyncio.run(closed(url, tool, min(seconds, 5)))
                found[tool] = asyncio.run(closed(url, tool, seconds))
                print(json.dumps({"turn": turn, "tool": tool, **found[tool]}), flush=True)
    theirs = found["litserve"]
    for tool in PORTS:
        if tool != "litserve":
            found[tool]["times_as_many"] = round(found[tool]["per_second"] / theirs["per_second"], 2)
            found[tool]["p99_share"] = round(found[tool]["p99"] / theirs["p99"], 2)
    return found


def overload(folder: Path, seconds: float) -> dict[str, Any]:
    with served("lowrung", folder) as (url, _):
        asyncio.run(closed(url, "lowrung", 5))
        full = asyncio.run(closed(url, "lowrung", 10))
        half = asyncio.run(opened(url, full["per_second"] / 2, 20))
        over = asyncio.run(opened(url, 4 * full["per_second"], seconds))
    return {"capacity": full, "half": half, "over": over, "p99_times": round(over["p99"] / full["p99"], 2)}


def endurance(folder: Path, requests: int) -> dict[str, Any]:
    found = []
    with served("lowrung", folder) as (url, process):
        child = next(iter(_children(process)), process)
        for _ in range(10):
            asyncio.run(closed(url, "lowrung", 1e9, requests // 10))
            found.append(memory(child))
            print(json.dumps({"megabytes": found}), flush=True)
    return {"requests": requests, "megabytes": found, "growth": round(found[-1] / found[0] - 1, 4)}


def _children(process: int) -> list[int]:
    held = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(each) for each in held]


PARTS = ("throughput", "overload", "memory")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the service.")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--table", action="store_true", help="print what is there and measure nothing")
    parser.add_argument("--quick", action="store_true", help="see that it works: few requests, nothing is kept")
    asked = parser.parse_args()
    path = kept.place(FILE, quick=asked.quick)
    if hasattr(os, "sched_setaffinity") and not asked.table:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # who asks leaves the first core alone
    with tempfile.TemporaryDirectory() as scratch:
        folder = model(Path(scratch)) if not asked.table else Path()
        seconds, requests = (5.0, 500) if asked.quick else (asked.seconds, asked.requests)
        for part in () if asked.table else asked.parts:
            found = (
                throughput(folder, seconds)
                if part == "throughput"
                else overload(folder, seconds)
                if part == "overload"
                else endurance(folder, requests)
            )
            kept.put(path, part, found)
    print(json.dumps(json.loads(path.read_text("utf-8")), indent=1) if path.exists() else "nothing was measured yet")


if __name__ == "__main__":
    main()
