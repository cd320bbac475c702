"""An endpoint that is 200 ms away: 16 requests at once beside one at a time, and how many rows faults lose.

    python -m benchmarks.remote

A server in a process of its own on the loopback answers each request after 200 ms; 1,000 rows are asked with 16
requests at once, 60 of them one at a time (seconds are told for 1,000), and 1,000 with a fifth of the requests failing:
HTTP 429 with and without Retry-After, 500, cut connections, bodies that are no JSON, replies that come too late. Asked
for: 12 times the rows a second, and no row lost. Results go to `results/remote.json`.
"""

import argparse
import json
import multiprocessing
import random
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import kept
from lowrung.core.answers import Choice
from lowrung.core.parts import Question
from lowrung.models.endpoint import Terms
from lowrung.models.remote import Remote

FILE = "remote.json"
LATENCY, ROWS, ALONE = 0.2, 1000, 60
AT_ONCE, ASKED_FOR = 16, 12.0
OPTIONS = ("even", "odd")
FAULTS = ("429 with Retry-After", "429", "500", "cut", "garbage", "late")
TIMEOUT, LATE = 2.0, 3.0  # seconds


def serve(told: Connection, share: float, seed: int) -> None:
    """Answer until the process is ended; of all requests a `share` fails, in turn in each way."""
    draw, number = random.Random(seed), 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            nonlocal number
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            row = int(body["messages"][-1]["content"].split()[-1])
            fault = ""
            if draw.random() < share:
                fault, number = FAULTS[number % len(FAULTS)], number + 1
            time.sleep(LATE if fault == "late" else LATENCY)
            said = {"message": {"content": OPTIONS[row % 2]}, "finish_reason": "stop"}
            content = json.dumps({"choices": [said], "usage": {"prompt_tokens": 60, "completion_tokens": 2}}).encode()
            if fault == "cut":
                self.close_connection = True
                return
            status = 429 if fault.startswith("429") else 500 if fault == "500" else 200
            self.send_response(status)
            if fault == "429 with Retry-After":
                self.send_header("Retry-After", "1")
            self.send_header("Content-Type", "application/json")
            content = content[: len(content) // 2] if fault == "garbage" else content
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None: ...

    class Threads(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None: ...

    server = Threads(("127.0.0.1", 0), Handler)
    told.send(server.server_port)
    server.serve_forever()


def measured(number: int, *, at_once: int, share: float = 0.0) -> dict[str, Any]:
    """Ask about `number` rows, none of them stored."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(theirs, share, 0), daemon=True)
    process.start()
    try:
        url = f"http://127.0.0.1:{ours.recv()}/v1"
        with tempfile.TemporaryDirectory() as folder:
            terms = Terms(concurrency=at_once, timeout=TIMEOUT)
            model = Remote(url, "parity", Choice, "whether a number is even", terms=terms, store=Path(folder) / "r")
            asked = [Question((f"row {at}",), options=OPTIONS) for at in range(number)]
            begun = time.perf_counter()
            said = model.answer(asked)
            seconds = time.perf_counter() - begun
    finally:
        process.terminate()
        process.join()
    lost = sum(each.answer is None for each in said)
    wrong = sum(each.answer != Choice(OPTIONS[at % 2]) for at, each in enumerate(said)) - lost
    return {"rows": number, "at_once": at_once, "faults": share, "seconds": seconds, "lost": lost, "wrong": wrong}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows; results are not kept")
    asked = parser.parse_args()
    of = 10 if asked.quick else 1
    runs = [
        measured(ALONE // of, at_once=1),
        measured(ROWS // of, at_once=AT_ONCE),
        measured(ROWS // of, at_once=AT_ONCE, share=0.2),
    ]
    pace = [each["rows"] / each["seconds"] for each in runs]
    ratio, lost = pace[1] / pace[0], sum(each["lost"] + each["wrong"] for each in runs)
    lines = [
        (
            each["rows"],
            each["at_once"],
            f"{each['faults']:.0%}",
            f"{1000 / rate:.1f}",
            f"{rate:.1f}",
            each["lost"],
            each["wrong"],
        )
        for each, rate in zip(runs, pace, strict=True)
    ]
    kept.put(kept.place(FILE, quick=asked.quick), "latency", {"seconds": LATENCY, "runs": runs, "ratio": ratio})
    print(kept.table(("rows", "at once", "faults", "s / 1,000 rows", "rows / s", "lost", "wrong"), lines))
    print(f"{AT_ONCE} at once: {ratio:.1f} times the rows a second of one at a time (asked for: {ASKED_FOR:g})")
    print(f"rows lost or wrong: {lost} (asked for: 0)")


if __name__ == "__main__":
    main()
