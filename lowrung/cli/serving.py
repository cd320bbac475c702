"""`lowrung serve`: models over HTTP, until it is told to stop."""

from __future__ import annotations

import argparse
import sys

from lowrung.cli import values
from lowrung.core.errors import LowrungError

VERB = (  # as in help.VERBS
    "answer over HTTP: one model or several, with corrections kept",
    """
  lowrung serve runs/topic
  lowrung serve mails=runs/topic names=runs/entities spelling --port 8080 --store sqlite:///corrections.db
  lowrung serve --new-key ada --keys keys.txt
  lowrung serve runs/topic --keys keys.txt --host 0.0.0.0

  curl -s localhost:8000/v1/answer -d '{"rows": [{"text": "I was charged twice."}]}' -H 'Content-Type: application/json'

  lowrung serve mails=runs/topic --store sqlite:///corrections.db --raw mails=unlabelled.jsonl

Its page, at /, shows answers and takes corrections.
A folder that another version takes the place of is loaded anew while the old one answers. SIGTERM or Ctrl-C: what waits
is answered, then it ends.""",
)
HOST, PORT = "127.0.0.1", 8000


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help="a shipped folder, a study's, or a task; NAME=MODEL names it"
    )
    parser.add_argument("--host", default=HOST, metavar="ADDRESS", help=f"default {HOST}: this machine alone")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name that it may be asked by without --keys, as in a browser's address; may be repeated",
    )
    parser.add_argument("--port", type=values.port, default=PORT, metavar="N", help=f"default {PORT}")
    parser.add_argument("--store", default="", metavar="URL", help="where corrections go, like sqlite:///file.db")
    parser.add_argument(
        "--raw",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="rows without right answers, for the page to ask about what to label next; NAME= may be left out where "
        "one model is served",
    )
    parser.add_argument(
        "--remember",
        type=values.at_least_one,
        default=0,
        metavar="N",
        help="put the last N rows that were asked about there, too; kept in memory until it ends; default none",
    )
    parser.add_argument("--keys", default="", metavar="FILE", help="who may ask; without it everybody who reaches it")
    parser.add_argument("--new-key", default="", metavar="NAME", help="add a key for NAME to --keys, show it, and end")
    parser.add_argument(
        "--options", type=values.names, default=[], metavar="A,B", help="labels for a task's embedded default"
    )
    parser.add_argument(
        "--fast", action="store_true", help="multiply matrices in 8 bits: faster, and now and then another answer"
    )
    parser.add_argument(
        "--patience",
        type=values.above_zero,
        default=0.5,
        metavar="SECONDS",
        help="how long a question may wait for its turn before more are refused with 429; default 0.5",
    )


def serve(asked: argparse.Namespace) -> None:
    from lowrung.serving import keys

    if asked.new_key:
        if not asked.keys:
            raise LowrungError("--new-key adds to a file of keys: --keys FILE names it")
        print(keys.made(asked.keys, asked.new_key))
        print(f"{asked.keys}: holds its hash; the key is not shown again", file=sys.stderr)
        return
    if not asked.models:
        raise LowrungError("name a model to serve: a shipped folder, or a task for its embedded default")
    if (asked.raw or asked.remember) and not asked.store:
        raise LowrungError("--raw and --remember tell rows to be corrected: --store URL says where corrections go")
    try:
        import uvicorn

        from lowrung.serving.app import application
        from lowrung.serving.desk import Desk, raw_of
        from lowrung.serving.gate import LOCAL
        from lowrung.serving.hosting import Host, names_of
        from lowrung.serving.meters import Meters
        from lowrung.serving.store import Store
        from lowrung.serving.streams import LARGEST, Server
    except ImportError as problem:
        raise LowrungError(f"serve needs {problem.name}: pip install 'lowrung[serve]'") from problem
    from lowrung.data.files import read_rows
    from lowrung.run.ship import Shipped, load, shipped_folder

    known = keys.read(asked.keys) if asked.keys else None
    if known is None and asked.host not in LOCAL:
        print(f"lowrung: {asked.host} is reached from elsewhere, and without --keys everybody may ask", file=sys.stderr)

    def loaded(source: str) -> Shipped:
        return load(source, options=() if shipped_folder(source) else asked.options)

    host = Host(names_of(asked.models), loaded, Meters(), asked.patience, precision="fast" if asked.fast else "exact")
    files = raw_of(asked.raw, list(host.served))
    raw = {name: read_rows(file, task=host.of(name).shipped.task) for name, file in files.items()}
    store = Store(asked.store) if asked.store else None
    desk = Desk(host, store, raw=raw, remember=asked.remember)
    hosts = [*(LOCAL if asked.host in LOCAL else [asked.host]), *asked.allow_host]
    app = application(host, store=store, keys=known, hosts=hosts, desk=desk)
    for each in host.served.values():
        told = f"{each.name}: {each.shipped.task.name}, {each.about()['method']}, version {each.version}"
        print(f"lowrung: {told}", file=sys.stderr)
    print(f"lowrung: http://{asked.host}:{asked.port}/  (Ctrl-C ends it)", file=sys.stderr)
    config = uvicorn.Config(
        app,
        host=asked.host,
        port=asked.port,
        log_level="warning",
        timeout_graceful_shutdown=30,
        server_header=False,
        ws_max_size=LARGEST,
    )
    server = Server(config, app.state.lowrung.streams)
    server.run()
    if not server.started:
        raise LowrungError(f"{asked.host}:{asked.port}: could not be listened at; another --port may be free")
