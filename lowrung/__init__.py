"""lowrung: take a pretrained model to a low-level language task with few labels, prove it, ship it.

    from lowrung import study, fit, load

Importing this module loads neither torch nor transformers; the first use of a name does.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {  # public name → the room it lives in
    "Question": "core.parts",
    "Audio": "core.parts",
    "Image": "core.parts",
    "Text": "core.answers",
    "Choice": "core.answers",
    "Choices": "core.answers",
    "Span": "core.answers",
    "Spans": "core.answers",
    "Prediction": "core.answers",
    "Example": "core.task",
    "Metric": "core.task",
    "Task": "core.task",
    "Model": "core.model",
    "LowrungError": "core.errors",
    "DataError": "core.errors",
    "ModelError": "core.errors",
    "task": "tasks",
    "read_rows": "data.files",
    "check": "data.check",
    "adapt": "run.adapt",
    "fit": "run.fit",
    "load": "run.ship",
    "evaluate": "run.evaluate",
    "compare": "run.compare",
    "audit": "run.audit",
    "explain": "run.explaining",
    "study": "run.study",
    "tracking": "run.tracking",
}
__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lowrung' has no attribute {name!r}")
    return getattr(import_module(f"lowrung.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
