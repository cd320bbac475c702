"""The verbs and their options. Nothing heavy is imported here: `lowrung --help` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from lowrung import __version__
from lowrung.cli import describing, explaining, keeping, next_rows, probing, serving, tracking, values
from lowrung.cli.asking import add_body, add_terms
from lowrung.cli.help import VERBS
from lowrung.core.errors import LowrungError, unknown


def parsed(arguments: Sequence[str]) -> argparse.Namespace | None:
    """What is asked for; None where the list of verbs was all there was to print.

    Raises:
        LowrungError: an unknown verb, option or extra argument.
        SystemExit: argparse has printed help, the version, or what is missing.
    """
    top, verbs = _parsers()
    if arguments and not arguments[0].startswith("-") and arguments[0] not in VERBS:
        raise LowrungError(f"{unknown('verb', arguments[0], VERBS)} See lowrung --help")
    asked, extra = top.parse_known_args(arguments)
    if extra:
        of_verb = verbs.get(getattr(asked, "verb", "") or "", top)
        named = next((each for each in extra if each.startswith("-")), None)
        if named is None:
            raise LowrungError(f"{extra[0]!r} is one argument too many; see lowrung {asked.verb} --help")
        options = [each for each in of_verb._option_string_actions if each.startswith("--")]
        raise LowrungError(f"{unknown('option', named.partition('=')[0], options)}")
    if asked.verb is None:
        top.print_help()
        return None
    from_stdin = [name for name in READ if getattr(asked, name, None) == "-"]
    if len(from_stdin) > 1:
        told = " and ".join(name.upper() if name == "rows" else f"--{name}" for name in from_stdin)
        raise LowrungError(f"-: the standard input can be read once, not for {told}; name a file for one of them")
    return asked


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    top = argparse.ArgumentParser(
        prog="lowrung",
        description="Take a pretrained model to a language task with few labels, prove that it got better, ship it.",
        epilog="lowrung VERB --help shows a verb's options and examples.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"lowrung {__version__}")
    top.add_argument("--debug", action="store_true", help="show where an error came from")
    # without a choice of verbs argparse has none to name; `parsed` names them, with the closest one
    added = top.add_subparsers(dest="verb", metavar="VERB")
    verbs = {}
    for verb, (line, examples) in VERBS.items():
        each = added.add_parser(
            verb,
            help=line.replace("%", "%%"),
            description=f"{line[0].upper()}{line[1:]}.",
            epilog=f"examples:{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        each.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        verbs[verb] = each
    _fill(verbs)
    return top, verbs


READ = ("rows", "test", "dev", "silver", "known", "corrections")  # what is read whole, and may be "-"
MODEL = "a shipped folder, a study's folder, or a task's name for the embedded model, untouched"
ROWS = "a file (.jsonl .csv .tsv .txt .conll .parquet, also .gz .xz), a folder with train and test, or hub:owner/name"
BACKBONE = "minilm or writer-en (embedded), a transformers folder, a hub id, an endpoint as http://host:port/v1#name"
SILVER = "rows that `lowrung label` has labelled, to learn from as well"


def _fill(verbs: dict[str, argparse.ArgumentParser]) -> None:
    study = verbs["study"]
    _task(study)
    study.add_argument("rows", metavar="ROWS", help=f"{ROWS}; a folder's test part serves as --test")
    study.add_argument("--test", metavar="ROWS", help="rows to score on; without them, cross-validation")
    study.add_argument(
        "--labels",
        type=values.names,
        default=["0", "8", "32", "128", "all"],
        metavar="N,N",
        help="numbers of labels (default 0,8,32,128,all)",
    )
    study.add_argument(
        "--methods",
        type=values.names,
        default=[],
        metavar="A,B",
        help="as `lowrung methods` names them (default: all that fit)",
    )
    study.add_argument(
        "--augment",
        type=values.names,
        default=[],
        metavar="A,B",
        help="augmentations to try on the winner (typos,keyboard,spaces,case,names,…; of sound hiss,room,speed,gain,"
        "telephone,codec,gaps); those that do not help on rows held out are vetoed",
    )
    study.add_argument(
        "--seeds", type=values.at_least_one, default=3, metavar="N", help="draws of labels for each cell (default 3)"
    )
    study.add_argument(
        "--confidence",
        type=values.share,
        default=0.95,
        metavar="P",
        help="probability of being better from which the winner ships (default 0.95)",
    )
    _text(study, beside="practice-")
    study.add_argument("--silver", metavar="FILE", help=SILVER)
    study.add_argument("--balanced", action="store_true", help="draw equally many rows a class")
    study.add_argument("--out", metavar="DIR", help="default: runs/TASK-<name of the rows>")
    study.add_argument("--model", action="append", default=[], metavar="NAME", help=f"{BACKBONE}; again for another")
    add_terms(study)
    _reading(study)
    _words(study)
    _json(study, "print what study.json says")

    fit = verbs["fit"]
    _task(fit)
    fit.add_argument("rows", metavar="ROWS", help=ROWS)
    fit.add_argument(
        "--method",
        default="",
        metavar="NAME",
        help="as `lowrung methods` names it (default probe; for spelling channel-tuned; with --text practice)",
    )
    _text(fit, beside="practice-")
    fit.add_argument("--silver", metavar="FILE", help=SILVER)
    fit.add_argument("--dev", metavar="ROWS", help="rows to stop early by and to report a score on")
    fit.add_argument("--seed", type=values.seed, default=0, metavar="N", help="default 0")
    fit.add_argument("--out", metavar="DIR", help="default: runs/TASK-<name of the rows>-<method>")
    _backbone(fit)
    add_terms(fit)
    _reading(fit)
    _wishes(fit)
    _words(fit)

    practice = verbs["practice"]
    practice.add_argument("task", nargs="?", default="", metavar="TASK", help="as `lowrung tasks` names it")
    practice.add_argument("--masked", action="store_true", help="no task: teach a body to guess hidden pieces")
    _text(practice, required=True)
    practice.add_argument("--steps", type=int, metavar="N", help="of 16 rows each; default 1000")
    practice.add_argument(
        "--minutes",
        type=values.above_zero,
        default=0.0,
        metavar="N",
        help="stop after so many; with --steps, whichever is first",
    )
    practice.add_argument(
        "--least", type=values.at_least_one, metavar="N", help="for spelling: times a new word must be met (default 3)"
    )
    practice.add_argument("--seed", type=values.seed, default=0, metavar="N", help="default 0")
    practice.add_argument("--out", metavar="DIR", help="default: runs/TASK-practice")
    _backbone(practice)
    _json(practice)

    answer = verbs["answer"]
    answer.add_argument("model", metavar="MODEL", help=MODEL)
    answer.add_argument(
        "given",
        nargs="+",
        metavar="FILE|TEXT|-",
        help="files of rows, texts, or - for JSON lines on the standard input",
    )
    answer.add_argument("--out", metavar="FILE", help="write there; a run that was stopped goes on from what it had")
    answer.add_argument("--options", type=values.names, default=[], metavar="A,B", help="the labels to choose from")
    answer.add_argument(
        "--fast", action="store_true", help="8-bit matrix products by onnxruntime (an extra); a few answers differ"
    )
    answer.add_argument(
        "--skip-bad", action="store_true", help="answer a row that cannot be read with its error and go on"
    )
    add_body(answer)
    add_terms(answer)
    _reading(answer)
    _wishes(answer)
    _words(answer)
    _json(answer, "one object a row")

    score = verbs["score"]
    score.add_argument("model", metavar="MODEL", help=MODEL)
    score.add_argument("rows", metavar="ROWS", help=f"{ROWS}; of a folder, its test part")
    add_body(score)
    add_terms(score)
    _reading(score)
    _words(score)
    _json(score)

    label = verbs["label"]
    _task(label)
    label.add_argument("rows", metavar="FILE", help="raw rows (.jsonl .csv .tsv .txt .parquet, also .gz .xz)")
    label.add_argument("--model", required=True, metavar="NAME", help=f"a shipped folder, {BACKBONE}")
    label.add_argument("--out", required=True, metavar="FILE", help="the rows that it could label (.jsonl)")
    label.add_argument("--options", type=values.names, default=[], metavar="A,B", help="the labels to choose from")
    add_terms(label)
    _reading(label)

    compare = verbs["compare"]
    compare.add_argument("one", metavar="A", help=MODEL)
    compare.add_argument("two", metavar="B", help="likewise")
    compare.add_argument("rows", metavar="ROWS", help=f"{ROWS}; of a folder, its test part")
    _reading(compare)
    _json(compare)

    audit = verbs["audit"]
    audit.add_argument("model", metavar="MODEL", help=MODEL)
    audit.add_argument(
        "rows",
        nargs="*",
        metavar="ROWS",
        help=f"{ROWS}; of a folder, its test part; for pronoun also WinoBias's own files; default: the example rows",
    )
    audit.add_argument(
        "--swaps",
        type=values.names,
        default=["gender", "names", "dialect"],
        metavar="A,B",
        help="of gender, names, dialect (dialect-spelling, dialect-informal); default all",
    )
    audit.add_argument(
        "--groups", type=values.names, default=[], metavar="A,B", help="columns that say which group a row belongs to"
    )
    audit.add_argument(
        "--options", type=values.names, default=[], metavar="A,B", help="labels, where MODEL is a task's name"
    )
    audit.add_argument(
        "--seed", type=values.seed, default=0, metavar="N", help="of the names that are drawn; default 0"
    )
    _reading(audit)
    _json(audit)

    probing.add_options(verbs["probe"])
    explaining.add_options(verbs["explain"])
    next_rows.add_options(verbs["next"])
    serving.add_options(verbs["serve"])
    keeping.add_options(verbs)
    _reading(verbs["explain"])

    tried = verbs["try"]
    _task(tried)
    tried.add_argument("text", metavar="TEXT")
    tried.add_argument(
        "--options",
        type=values.names,
        default=[],
        metavar="A,B",
        help="the labels to choose from; for pronoun, the candidates in the text",
    )
    tried.add_argument("--question", default="", metavar="TEXT", help="for answers_in_text and choice: what is asked")
    tried.add_argument("--pronoun", default="", metavar="WORD", help="for pronoun: the word in the text that is meant")
    tried.add_argument(
        "--meaning", type=values.pair, action="append", default=[], metavar="LABEL=WORDS", help="what a label means"
    )
    _backbone(tried)
    add_terms(tried)
    _wishes(tried)
    _words(tried)
    _json(tried)

    check = verbs["check"]
    _task(check)
    check.add_argument("rows", metavar="ROWS", help=f"{ROWS}; a folder's other parts are looked at with it")
    check.add_argument("--test", metavar="ROWS", help="rows that must not repeat ROWS")
    _rename(check)
    _backbone(check)
    _json(check)

    for verb in ("study", "fit", "answer", "score", "try"):
        describing.add_options(verbs[verb])

    for verb in ("study", "fit", "practice", "refit"):
        tracking.add_options(verbs[verb])

    for verb in ("tasks", "models", "methods"):
        _json(verbs[verb])

    export = verbs["export"]
    export.add_argument("model", metavar="MODEL", help=MODEL)
    export.add_argument("--transformers", required=True, metavar="DIR", help="the folder to write")
    export.add_argument("--body-only", action="store_true", help="leave the head behind")
    export.add_argument(
        "--options", type=values.names, default=[], metavar="A,B", help="labels, where MODEL is a task's name"
    )


def _task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", help="as `lowrung tasks` names it")


def _backbone(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="", metavar="NAME", help=BACKBONE)


def _text(parser: argparse.ArgumentParser, *, required: bool = False, beside: str = "") -> None:
    """Raw text to practise on and, `beside` what else the verb does, how long."""
    parser.add_argument(
        "--text",
        nargs="+",
        required=required,
        default=[],
        metavar="FILE",
        help="raw text to practise on: .txt, or .jsonl, .csv, .parquet with --column; also .gz, .xz",
    )
    parser.add_argument("--column", default="text", metavar="NAME", help="the column of rows that holds the text")
    if beside:
        parser.add_argument(f"--{beside}steps", type=int, metavar="N", help="of 16 rows each; default 1000")
        parser.add_argument(
            f"--{beside}minutes", type=values.above_zero, default=0.0, metavar="N", help="or so many minutes"
        )


def _wishes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--protect",
        action="append",
        default=[],
        metavar="WORD|REGEX",
        help="for spelling: leave this word, or what this regular expression matches, alone; may be given again",
    )
    parser.add_argument("--lexicon", default="", metavar="FILE", help="for spelling: your own words, one a line")
    parser.add_argument(
        "--budget",
        type=values.budget,
        metavar="SHARE",
        help="for spelling: the share of right words that may be changed, as in 0.2%% or 0.002",
    )


def _words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--words",
        default="",
        metavar="FILE",
        help="for speech: words and phrases that are likely to be said, one a line, a weight behind a tab or none",
    )


def _rename(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rename",
        type=values.pair,
        action="append",
        default=[],
        metavar="OURS=THEIRS",
        help="read column THEIRS as OURS",
    )


def _reading(parser: argparse.ArgumentParser) -> None:
    _rename(parser)
    parser.add_argument(
        "--meaning",
        type=values.pair,
        action="append",
        default=[],
        metavar="LABEL=WORDS",
        help="what a label means, where its name says little",
    )


def _json(parser: argparse.ArgumentParser, line: str = "for programs") -> None:
    parser.add_argument("--json", action="store_true", help=line)
