"""The service and a refit killed without warning, again and again, while people ask and correct.

    python -m benchmarks.chaos --kills 200
    python -m benchmarks.chaos --table

A service with a store, four clients that ask and correct, and a refit of the same model run side by side. At some
moment both get SIGKILL. Then the store must be whole and hold every acknowledged correction, the model's folder
must answer, and the service must be ready again within 10 seconds.
Results go to `results/chaos.json`.
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks import kept

FILE, PORT, CLIENTS = "chaos.json", 8711, 4
URL = f"http://127.0.0.1:{PORT}"
LABELS = {"billing": "invoice charged money", "delivery": "parcel courier late", "praise": "thank great love"}


class Run:
    """One run over many kills."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.model, self.rows, self.store = folder / "mails", folder / "rows.jsonl", folder / "store.db"
        self.acknowledged, self.ended = set[str](), threading.Event()
        self.answers, self.slowest, self.lost, self.corrupt, self.slow = 0, 0.0, 0, 0, 0
        rows = [self.row() for _ in range(60)]
        self.rows.write_text("".join(json.dumps(each) + "\n" for each in rows), "utf-8")
        self.lowrung("fit", "topic", str(self.rows), "--method", "ngrams", "--out", str(self.model)).wait()

    def row(self) -> dict[str, str]:
        label = self.random.choice(sorted(LABELS))
        return {
            "text": f"{' '.join(self.random.choices(LABELS[label].split(), k=3))} {self.random.random()}",
            "label": label,
        }

    def lowrung(self, *asked: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "lowrung", *asked], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def ready(self, since: float) -> float:
        import httpx2

        while time.monotonic() - since < 60:
            try:
                if httpx2.get(f"{URL}/readyz", timeout=1).status_code == 200:
                    return time.monotonic() - since
            except httpx2.HTTPError:
                time.sleep(0.05)
        return 60.0

    def asks(self, client: int) -> None:
        import httpx2

        chance, number = random.Random(f"{client} {time.time()}"), 0
        with httpx2.Client(base_url=URL, timeout=5) as http:
            while not self.ended.is_set():
                try:
                    if chance.random() < 0.5:
                        http.post("/v1/answer", json={"row": {"text": "the invoice was charged"}})
                        self.answers += 1
                        continue
                    number += 1
                    key, row = f"{client}-{time.time_ns()}", self.row()
                    label = row.pop("label")
                    found = http.post("/v1/corrections", json={"key": key, "row": row, "correction": {"label": label}})
                    if found.status_code == 201:
                        self.acknowledged.add(key)
                except httpx2.HTTPError:
                    time.sleep(0.05)

    def kill(self) -> None:
        """One round: start, load, kill, look."""
        began = time.monotonic()
        service = self.lowrung("serve", str(self.model), "--port", str(PORT), "--store", f"sqlite:///{self.store}")
        took = self.ready(began)
        self.slowest, self.slow = max(self.slowest, took), self.slow + (took > 10)
        self.ended.clear()
        clients = [threading.Thread(target=self.asks, args=(at,)) for at in range(CLIENTS)]
        for each in clients:
            each.start()
        refit = self.lowrung("refit", str(self.model), "--rows", str(self.rows), "--store", f"sqlite:///{self.store}")
        time.sleep(self.random.uniform(0.2, 6.0))
        for process in (service, refit):
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        self.ended.set()
        for each in clients:
            each.join()
        self.look()

    def look(self) -> None:
        from lowrung.core.errors import LowrungError
        from lowrung.run.ship import load

        held = sqlite3.connect(self.store)
        whole = held.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        there = {key for (key,) in held.execute("SELECT key FROM lowrung_corrections")}
        held.close()
        self.lost += len(self.acknowledged - there)
        self.acknowledged &= there  # each lost one is counted once
        try:
            answers = load(self.model).answer("the parcel is late").answer is not None
        except LowrungError:
            answers = False
        self.corrupt += not (whole and answers)

    def told(self, kills: int) -> dict[str, Any]:
        return {
            "kills": kills,
            "acknowledged": len(self.acknowledged),
            "answered": self.answers,
            "lost": self.lost,
            "corrupt": self.corrupt,
            "not_ready_in_10_s": self.slow,
            "slowest_start_seconds": round(self.slowest, 2),
            "versions": len(list((self.folder / "mails.versions").glob("*/lowrung.json"))),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill the service and a refit again and again.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="print what is there and measure nothing")
    parser.add_argument("--quick", action="store_true", help="see that it works: three kills, nothing is kept")
    asked = parser.parse_args()
    path = kept.place(FILE, quick=asked.quick)
    if not asked.table:
        with tempfile.TemporaryDirectory() as scratch:
            run, kills = Run(Path(scratch), asked.seed), 3 if asked.quick else asked.kills
            for number in range(kills):
                run.kill()
                if number % 10 == 9 or number == kills - 1:
                    print(json.dumps(run.told(number + 1)), flush=True)
            kept.put(path, "kills", run.told(kills))
    print(json.dumps(json.loads(path.read_text("utf-8")), indent=1) if path.exists() else "nothing was measured yet")


if __name__ == "__main__":
    main()
