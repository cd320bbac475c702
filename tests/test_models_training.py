"""Training moves exactly what it says, from its seed alone, and goes on where it was cut off."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_encoder import ROWS, write_tiny_encoder

from lowrung.core.errors import ModelError
from lowrung.core.task import Example
from lowrung.tasks import task

HOWS = ("Frozen", "Top", "LoRA", "Full")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture
def backbone(folder: str) -> Any:
    from lowrung.models import catalog

    return catalog.backbone(folder)


def _how(name: str) -> Any:
    from lowrung.models import tuning

    return {"Frozen": tuning.Frozen(), "Top": tuning.Top(1), "LoRA": tuning.LoRA(2), "Full": tuning.Full()}[name]


def _examples(name: str) -> tuple[list[Example[Any]], tuple[str, ...]]:
    fitted = task(name).fitted_to(ROWS[name])
    return [fitted.example(row) for row in ROWS[name]], fitted.options


def _network(backbone: Any, name: str, how: str, *, prefixes: Any = None, seed: int = 0) -> Any:
    """A network before its first step."""
    import torch

    from lowrung.models import tuning
    from lowrung.models.heads import Rank, Tag
    from lowrung.models.network import Adapted

    _, options = _examples(name)
    torch.manual_seed(99)
    names = backbone.embed(options)
    head: Any = Rank(options, names) if name == "topic" else Tag(options, names, width=backbone.width)
    moved = backbone if how == "Frozen" else tuning.loosened(backbone, _how(how), seed=seed)
    return Adapted(moved, head, how=_how(how), prefixes=prefixes)


def _settings(**changes: Any) -> Any:
    from lowrung.models.training import Settings

    return replace(Settings(least=4, most=4, batch=4, lr=1e-2, head_lr=1e-2, precision="float32"), **changes)


def _trained(network: Any, name: str, *, seed: int = 0, score: Any = None, **changes: Any) -> Any:
    from lowrung.models.training import train

    examples, _ = _examples(name)
    return train(network, examples, settings=_settings(**changes), seed=seed, score=score)


def _weights(network: Any) -> dict[str, Any]:
    body = {f"body.{name}": each.detach().clone() for name, each in network.backbone.body.state_dict().items()}
    return body | {f"head.{name}": each.detach().clone() for name, each in network.head.state_dict().items()}


def _changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    import torch

    return {name for name, each in before.items() if not torch.equal(each, after[name])}


@pytest.mark.parametrize("name", ["topic", "entities"])
@pytest.mark.parametrize("how", HOWS)
def test_exactly_what_is_said_moves(backbone: Any, name: str, how: str) -> None:
    shared = {key: each.clone() for key, each in backbone.body.state_dict().items()}
    network = _network(backbone, name, how)
    before = _weights(network)
    _trained(network, name)
    moved = {each for each in _changed(before, _weights(network)) if each.startswith("body.")}
    layers = {each for each in before if each.startswith("body.encoder.layer.")}
    expected: dict[str, set[str]] = {
        "Frozen": set(),
        "Top": {each for each in layers if ".layer.1." in each},
        "LoRA": {each for each in before if ".lora_" in each},
        "Full": {each for each in before if each.startswith("body.") and "position_ids" not in each},
    }
    # a key's bias shifts all of a query's scores alike, so that nothing pulls at it but rounding
    still = {each for each in expected[how] if "key.bias" in each}
    assert moved - still == expected[how] - still
    assert _changed(before, _weights(network)) - moved, "the head moves"
    assert not _changed(shared, dict(backbone.body.state_dict())), "others use the backbone too"
    assert how != "LoRA" or {each.split(".")[-4] for each in moved} == {"query", "value"}


def test_lora_says_which_bodies_it_does_not_know(backbone: Any) -> None:
    from lowrung.models import tuning

    bare = backbone.upto(1)
    for layer in bare.layers:
        own = layer.attention.self
        own.asker, own.teller = own.query, own.value
        del own.query, own.value
    bare.upto = lambda depth: bare
    with pytest.raises(ModelError, match="use top or full"):
        tuning.loosened(bare, tuning.LoRA())


@pytest.mark.parametrize("how", HOWS)
def test_nothing_but_matrices_decays(backbone: Any, how: str) -> None:
    from lowrung.models.training import _groups, parameters

    network = _network(backbone, "entities", how)
    decay = {
        id(each): group["weight_decay"]
        for group in _groups(parameters(network), _settings(decay=0.5))
        for each in group["params"]
    }
    rates = {
        id(each): group["lr"]
        for group in _groups(parameters(network), _settings(lr=3.0, head_lr=5.0))
        for each in group["params"]
    }
    for name, each in parameters(network).items():
        spared = each.ndim < 2 or name.endswith("bias") or "norm" in name.lower()
        assert decay[id(each)] == (0.0 if spared else 0.5), name
        assert rates[id(each)] == (3.0 if name.startswith("body.") else 5.0), name
    assert len(decay) == len(parameters(network))


@pytest.mark.parametrize("name", ["topic", "entities"])
@pytest.mark.parametrize("how", ["Frozen", "Top"])
def test_the_cache_of_prefixes_changes_no_loss(backbone: Any, name: str, how: str) -> None:
    from lowrung.models.tuning import Prefixes

    prefixes = Prefixes(backbone)
    kept, plain = _network(backbone, name, how, prefixes=prefixes), _network(backbone, name, how)
    examples, _ = _examples(name)
    prefixes.fill([each.question for each in examples[:3]], kept.depths)  # some known, some not
    one, two = _trained(kept, name), _trained(plain, name)
    assert len(one.losses) == 4
    assert one.losses == pytest.approx(two.losses, abs=1e-4)
    assert prefixes.used > 0


def test_the_cache_keeps_no_more_than_its_limit(backbone: Any) -> None:
    import torch

    from lowrung.models.tuning import Prefixes

    questions = [each.question for each in _examples("topic")[0]]
    batch = backbone.encode(questions)
    small, large = Prefixes(backbone, limit=9000), Prefixes(backbone)
    assert torch.allclose(small.states(batch, (1,)), large.states(batch, (1,)))
    assert 0 < small.used <= 9000 < large.used
    again = large.states(batch, (1,))[batch.attended]
    assert torch.allclose(small.states(batch, (1,))[batch.attended], again, atol=1e-5)


def test_what_is_kept_does_not_depend_on_who_asked_first(backbone: Any) -> None:
    import torch

    from lowrung.models.tuning import Prefixes

    batch = backbone.encode([each.question for each in _examples("topic")[0]])
    plain, cast = Prefixes(backbone), Prefixes(backbone)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        made, vectors = cast.states(batch, (1,)), cast.vectors(["my parcel"])
    assert torch.equal(made, plain.states(batch, (1,)))
    assert torch.equal(vectors["my parcel"], plain.vectors(["my parcel"])["my parcel"])


def test_long_texts_come_from_the_cache_as_they_went_in(backbone: Any) -> None:
    import torch

    from lowrung.core.parts import Question
    from lowrung.models.tuning import Prefixes

    questions = [Question((text,)) for text in ("Ada", "where is my parcel " * 30, "the money")]
    prefixes, batch = Prefixes(backbone), backbone.encode(questions)
    assert len(batch.owners) > len(questions)
    for _ in range(2):
        states = batch.stitched(prefixes.states(batch, (1,)))
        wanted = batch.stitched(backbone.taps(batch, (1,)))
        assert torch.allclose(states[batch.mask], wanted[batch.mask], atol=1e-5)


@pytest.mark.parametrize("how", HOWS)
def test_a_seed_decides_everything(backbone: Any, how: str) -> None:
    import torch

    made = []
    for seed, noise in ((3, 1), (3, 2), (4, 1)):
        network = _network(backbone, "entities", how, seed=seed)
        torch.manual_seed(noise)  # what ran before must not matter
        _trained(network, "entities", seed=seed)
        made.append(_weights(network))
    assert not _changed(made[0], made[1])
    assert _changed(made[0], made[2])


def test_lora_starts_from_its_seed_whatever_ran_before(backbone: Any) -> None:
    import torch

    from lowrung.models import tuning

    def start(seed: int) -> dict[str, Any]:
        torch.rand(5)
        return tuning.moved(tuning.loosened(backbone, tuning.LoRA(), seed=seed))

    assert not _changed(start(1), start(1))
    assert _changed(start(1), start(2))
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    tuning.loosened(backbone, tuning.LoRA())
    assert torch.equal(torch.rand(1), expected), "nor does it move what others draw"


def test_early_stopping_keeps_the_best_weights(backbone: Any) -> None:
    network = _network(backbone, "topic", "Top")
    scores, seen = iter([0.1, 0.9, 0.5, 0.9, 0.2, 0.1, 1.0]), []

    def score(model: Any) -> float:
        seen.append({name: each for name, each in _weights(model).items() if "trust" not in name})
        return next(scores)

    progress = _trained(network, "topic", score=score, least=20, most=20, validations=10, patience=2)
    assert len(seen) == 5, "three in a row without gain are one more than it bears"
    assert progress.step == 8, "the first score is that of the start"
    assert progress.best == 0.9
    assert not _changed(seen[1], _weights(network)), "the first of two equals"


def test_without_dev_rows_the_last_weights_stay(backbone: Any) -> None:
    one, two = _network(backbone, "topic", "Top"), _network(backbone, "topic", "Top")
    _trained(one, "topic", least=3, most=3)
    _trained(two, "topic", least=3, most=3, score=lambda network: float(len(network.options)))
    assert _changed(_weights(one), _weights(two))  # a score that never rises keeps what it first saw


def _rates(backbone: Any, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> list[float]:
    import torch

    from lowrung.models.training import train

    rates: list[float] = []
    step = torch.optim.AdamW.step

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    score = changes.pop("score", None)
    examples, _ = _examples("topic")
    train(_network(backbone, "topic", "Frozen"), examples, settings=_settings(**changes), seed=0, score=score)
    return [rate / 1e-2 for rate in rates]


def test_the_rate_rises_then_falls_to_nothing(backbone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = _rates(backbone, monkeypatch, least=10, most=10, warmup=0.2)
    assert rates == pytest.approx([0.5, 1.0, *(each / 8 for each in range(8, 0, -1))])


def test_on_a_plateau_the_rate_halves(backbone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([0.3, 0.5, 0.4, 0.6, 0.1, 0.1])  # the first is that of the start
    rates = _rates(
        backbone,
        monkeypatch,
        least=10,
        most=10,
        warmup=0.0,
        schedule="plateau",
        validations=5,
        score=lambda _: next(told),
    )
    assert rates == pytest.approx([1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25])


def test_steps_follow_the_examples_between_bounds() -> None:
    from lowrung.models.training import Settings

    settings = Settings(epochs=3, least=10, most=50, batch=16)
    assert [settings.steps(number) for number in (1, 64, 65, 10_000)] == [10, 12, 15, 50]


def test_every_example_is_seen_once_an_epoch() -> None:
    from lowrung.models.training import drawn

    steps = [drawn(step, 10, _settings(), seed=7) for step in range(5)]  # two epochs of ten in fours
    seen = [at for chosen in steps for at in chosen]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]
    assert seen != [at for step in range(5) for at in drawn(step, 10, _settings(), seed=8)]


def test_rows_of_a_dialogue_are_learnt_from_in_one_step() -> None:
    from lowrung.core.parts import Question
    from lowrung.core.task import Example
    from lowrung.models.matching import ROWS
    from lowrung.models.training import from_groups

    sizes = {"a": 7, "b": 30, "c": 40, "long": 2 * ROWS + 1}
    rows: list[Example[Any]] = [
        Example(Question((f"{name} {at}",)), group=name) for name, size in sizes.items() for at in range(size)
    ]
    feed, steps = from_groups(rows, _settings(epochs=1, least=1, most=99), seed=3)
    met = [feed(step) for step in range(steps)]
    assert sorted(each.question.text for step in met for each in step) == sorted(each.question.text for each in rows)
    for name in "abc":
        assert sum(any(each.group == name for each in step) for step in met) == 1
    assert max(map(len, met)) <= 2 * ROWS
    assert feed(0) != from_groups(rows, _settings(epochs=1, least=1, most=99), seed=4)[0](0)


def test_gradients_are_clipped(backbone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    norms: list[float] = []
    step = torch.optim.AdamW.step

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        grads = [each.grad for group in self.param_groups for each in group["params"] if each.grad is not None]
        norms.append(float(torch.stack([each.norm() for each in grads]).norm()))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    _trained(_network(backbone, "topic", "Full"), "topic", clip=1e6)
    assert max(norms) > 0.01
    norms.clear()
    _trained(_network(backbone, "topic", "Full"), "topic", clip=0.01)
    assert len(norms) == 4
    assert max(norms) <= 0.0101


def test_balanced_classes_weigh_alike(backbone: Any) -> None:
    from lowrung.models.training import _class_weights

    examples, options = _examples("topic")
    few = [each for each in examples if each.golds[0].option == options[0]][:1]
    many = [each for each in examples if each.golds[0].option == options[1]][:3]
    network = _network(backbone, "topic", "Frozen")
    weights = _class_weights(network, few + many)
    assert weights is not None
    assert float(weights[0] * 1) == pytest.approx(float(weights[1] * 3))
    assert _class_weights(network, few).tolist() == [1.0, 0.0]  # a class without a row weighs nothing
    assert _class_weights(_network(backbone, "entities", "Frozen"), _examples("entities")[0]) is None


def test_contrast_pulls_like_towards_like() -> None:
    import torch

    from lowrung.models.training import contrastive

    wanted = torch.tensor([0, 0, 1, 1])
    apart = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert float(contrastive(apart, wanted)) < 0.01 < float(contrastive(apart[[0, 2, 1, 3]], wanted))
    assert float(contrastive(apart, torch.arange(4))) == 0.0  # no pair to pull
    features = torch.nn.functional.normalize(torch.randn(5, 3), dim=-1)
    labels, total = [0, 1, 0, 1, 0], 0.0
    for one in range(5):
        others = [at for at in range(5) if at != one]
        near = {at: float(features[one] @ features[at] / 0.1) for at in others}
        below = torch.tensor(list(near.values())).logsumexp(0)
        same = [at for at in others if labels[at] == labels[one]]
        total += sum(float(below) - near[at] for at in same) / len(same)
    assert float(contrastive(features, torch.tensor(labels))) == pytest.approx(total / 5, rel=1e-4)


WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import test_models_training
test_models_training.checkpointed(sys.argv[2], Path(sys.argv[3]), cut=7)
"""


def checkpointed(
    folder: str, checkpoint: Path | None, *, cut: int = 0, validated: int = 0
) -> tuple[Any, list[int], Any]:
    """9 steps with dropout and 4 validations, one at the start: (progress, its steps, weights); killed after `cut`."""
    import torch

    from lowrung.models import catalog
    from lowrung.models.training import train

    torch.set_num_threads(1)  # sums in another order would differ in the last bit
    network = _network(catalog.backbone(folder), "entities", "Top")
    examples, _ = _examples("entities")
    told, steps = iter([0.0, 0.2, 0.8, 0.1][validated:]), []

    def watch(step: int, steps_: int, loss: float) -> None:
        steps.append(step)
        if step == cut:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = _settings(least=9, most=9, validations=3)
    progress = train(
        network,
        examples,
        settings=settings,
        seed=1,
        score=lambda _: next(told),
        checkpoint=checkpoint,
        watch=watch,
    )
    return progress, steps, _weights(network)


def test_a_training_that_was_killed_goes_on_to_the_same_weights(folder: str, tmp_path: Path) -> None:
    import torch

    here, kept = Path(__file__).parent, tmp_path / "checkpoint"
    settings = {"LOWRUNG_CHECKPOINT_SECONDS": "0", "PYTHONPATH": str(here.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WORKER, str(here), folder, str(kept)]
    killed = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    threads = torch.get_num_threads()
    try:
        whole, all_steps, wanted = checkpointed(folder, None)
        # the validations at the start, at step 3 and at step 6 are in the checkpoint of step 6
        resumed, last_steps, found = checkpointed(folder, kept, validated=3)
    finally:
        torch.set_num_threads(threads)
    assert all_steps == list(range(1, 10))
    assert last_steps == [7, 8, 9], "it goes on from the last checkpoint, not from the start"
    assert resumed.losses == whole.losses
    assert resumed.best == whole.best == 0.8
    assert not _changed(wanted, found)


def test_a_cut_while_a_checkpoint_is_written_leaves_the_one_before(folder: str, tmp_path: Path) -> None:
    from lowrung.models import training

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "CHECKPOINT_SECONDS", -1.0)
        whole, _, wanted = checkpointed(folder, tmp_path)
    before = {each.name for each in tmp_path.iterdir()}
    assert before == {"state.json", "state-9.safetensors"}, "older ones are removed"
    (tmp_path / "state-12.safetensors.part").write_bytes(b"half")
    (tmp_path / "state-10.safetensors").write_bytes(b"whole, but not yet named")
    again, steps, found = checkpointed(folder, tmp_path)
    assert steps == []
    assert again.losses == whole.losses
    assert not _changed(wanted, found)
