"""The verbs, each in one line and with examples."""

from lowrung.cli import explaining, keeping, next_rows, probing, serving

VERBS = {  # verb → (one line, examples)
    "study": (
        "set the ways to do a task side by side, find where to switch, ship the winner if it is shown to be better",
        """
  lowrung study topic examples/rows/topic
  lowrung study entities train.jsonl --test test.jsonl --labels 0,20,80,all --out runs/names
  lowrung study topic mails.csv --rename text=body --rename label=folder --methods probe,ngrams --seeds 5

A study that was stopped goes on where it was when the same command is given again.""",
    ),
    "fit": (
        "learn from rows by one method and ship the model, without asking whether it is better",
        """
  lowrung fit topic train.jsonl
  lowrung fit entities train.jsonl --method top --dev dev.jsonl --out models/names
  lowrung fit topic train.jsonl --method top --track tensorboard    (then: tensorboard --logdir runs/track)""",
    ),
    "practice": (
        "rehearse a task on raw text, without a label, and ship the model",
        """
  lowrung practice pronoun --text wiki.txt.xz news.jsonl.gz --minutes 30 --out models/pronoun
  lowrung practice spelling --text mails.jsonl --column body --out models/spelling
  lowrung practice --masked --text mails.jsonl --column body --steps 5000 --out models/body

Rows are made of the text as it goes; of every 20 documents one is kept out, and rows made of it say how well it went.
For spelling the words of the text are counted, and those that are no slips become words of your own.
A practice that was stopped goes on where it was when the same command is given again.""",
    ),
    "answer": (
        "answer for a text, or for every row of a file of any size",
        """
  lowrung answer runs/topic "I was charged twice."
  lowrung answer runs/entities mails.jsonl --json --out answers.jsonl
  cat mails.jsonl | lowrung answer runs/topic - --json
  lowrung answer topic notes.txt --options refund,delivery,praise

With --out, a run that was stopped goes on after its last whole line when the same command is given again.
--json writes one object a row: {"id", "answer", "confidence", "others"}; a row without id is given its number.""",
    ),
    "score": (
        "measure a model on rows with labels, every metric with its 95 % interval",
        """
  lowrung score runs/topic test.jsonl
  lowrung score topic test.jsonl           (the embedded model, untouched, on the labels found in the rows)""",
    ),
    "label": (
        "label raw rows by a model, for others to learn from",
        """
  lowrung label topic mails.jsonl --options refund,praise --model http://127.0.0.1:8000/v1#qwen --out silver.jsonl
  lowrung label topic mails.jsonl --model runs/topic --out silver.jsonl
  lowrung study topic rows.jsonl --silver silver.jsonl

A run that was stopped, or ended by --max-cost, goes on when the same command is given again.""",
    ),
    "compare": (
        "say whether model B is better than model A on the same rows, and where they differ",
        """
  lowrung compare topic runs/topic test.jsonl
  lowrung compare models/old models/new test.jsonl --json""",
    ),
    "audit": (
        "swap genders, names and dialect marks in rows: how many answers flip, and how far groups are apart",
        """
  lowrung audit runs/topic test.jsonl
  lowrung audit models/pronoun gap-test.jsonl --swaps gender,names
  lowrung audit pronoun wino/data/*_stereotyped_type1.txt.test      (WinoBias as it is published)
  lowrung audit runs/topic test.jsonl --groups dialect --json

Rows without a right answer will do for the flips; scores and groups need it.""",
    ),
    "probe": probing.VERB,
    "explain": explaining.VERB,
    "next": next_rows.VERB,
    "serve": serving.VERB,
    **keeping.VERBS,
    "try": (
        "an answer now from the embedded model, from the label names alone",
        """
  lowrung try entities "Ada Lovelace met Charles Babbage in London."
  lowrung try pronoun "Ada wrote to Grace because she admired the engine." --pronoun she
  lowrung try topic "I was charged twice." --options billing,delivery --meaning billing="money and invoices\"""",
    ),
    "check": (
        "say what is odd about rows before anything learns from them; changes nothing",
        """
  lowrung check topic train.jsonl --test test.jsonl""",
    ),
    "tasks": ("the tasks, what a row of each looks like, and their metrics", "\n  lowrung tasks --json"),
    "models": ("the models that can be named, and how to bring one's own", "\n  lowrung models"),
    "methods": ("the ways to take a model to a task", "\n  lowrung methods"),
    "export": (
        "write a model as a folder that plain transformers can load",
        """
  lowrung export runs/topic --transformers exported""",
    ),
}
