"""The linear probe and fine-tuning: what they compute, and what they must not look at."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch.nn import functional

from sfda.benchmark import finetune as module
from sfda.benchmark.finetune import PENALTIES, choose, features, finetune, measure, probe
from sfda.benchmark.grids import POCKET
from sfda.evidence.runs import read_runs
from sfda.images.augment import normalise
from sfda.images.tasks import LoadedTask, Part, load_task


def samples(n_classes, n=120, dimension=9, seed=0):
    """Overlapping classes; the features' scales and means are far apart."""
    rng, y = np.random.default_rng(seed), np.arange(n) % n_classes
    x = rng.standard_normal((n_classes, dimension))[y] + rng.standard_normal((n, dimension))
    return torch.tensor(x * np.logspace(-2, 2, dimension) + 3 * np.arange(dimension), dtype=torch.float32), torch.tensor(y)


def small_task(n=40):
    task = load_task("digits")
    return LoadedTask(task.task, *(Part(part.images[:n], part.labels[:n]) for part in task.parts))


def encoder(name="googlenet"):
    return POCKET.encoder(name, untrained=True)


def tune(network, *, n_classes=10, labels=None, evaluated=None, **options):
    """Fine-tune on forty images of digits, at rates that are small unless others are named."""
    task = small_task()
    labels, evaluated = task.train.labels if labels is None else labels, task.test.images if evaluated is None else evaluated
    options = {"learning_rate": 0.01, "weight_decay": 1e-4} | options
    return finetune(network, n_classes, task.train.images, labels, evaluated, **options)


FEW = {"rates": (1e-4, 0.05), "decays": (1e-4, 0.5), "steps": 4}


@pytest.fixture(scope="module")
def chosen():
    """A task, a network, its weights before, and what was chosen for them."""
    task, network = small_task(), encoder()
    before = states(network)
    return task, network, before, choose(network, task, **FEW)


def right(logits, labels):
    """The share of the images that get their label."""
    return (logits.argmax(1) == labels).double().mean().item()


def standing(logits, labels):
    """What is compared: the accuracy, and among equals the likelihood."""
    return right(logits, labels), -functional.cross_entropy(logits, labels).item()


def states(network):
    return {key: value.clone() for key, value in network.state_dict().items()}


def same(one, other):
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_probe_is_logistic_regression_on_standardised_features(n_classes):
    (x, y), (v, w) = samples(n_classes), samples(n_classes, seed=1)
    first, final = probe(x, y, v, w)
    assert first.penalty == final.penalty and first.accuracy == final.accuracy
    for fitted, rows, labels in ((first, x, y), (final, torch.cat([x, v]), torch.cat([y, w]))):
        scaler = StandardScaler().fit(rows.double().numpy())
        reference = LogisticRegression(C=fitted.penalty, max_iter=100).fit(scaler.transform(rows.double().numpy()), labels.numpy())
        expected = reference.decision_function(scaler.transform(v.double().numpy()))
        assert fitted.weight.shape == (n_classes, 9) and fitted.bias.shape == (n_classes,)
        assert fitted.weight.dtype == fitted.bias.dtype == torch.float32
        logits = fitted.logits(v).numpy()
        if n_classes == 2:
            assert np.abs(logits.sum(1)).max() < 1e-4 * max(1, np.abs(logits).max())
            logits = logits[:, 1] - logits[:, 0]
        # Weights of float32, and features thousands of their scales away from 0.
        np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
def test_a_constant_feature_gets_no_weight(value):
    x, y = samples(3)
    one, constant = module._logistic(x, y, 1.0), torch.full((len(x), 1), value)
    other = module._logistic(torch.cat([x, constant], dim=1), y, 1.0)
    # Nor does it later, where the feature is another.
    torch.testing.assert_close(other.logits(torch.cat([x, constant + 1], dim=1)), one.logits(x))
    # Of constant features alone the bias is left.
    fitted = module._logistic(constant.expand(-1, 2), y, 1.0)
    torch.testing.assert_close(fitted.logits(torch.zeros(1, 2))[0], fitted.bias)
    assert fitted.bias.isfinite().all()


def test_probe_chooses_the_penalty_on_validation_samples():
    penalties = set()
    for seed, noise in ((1, 0.0), (2, 1.0), (3, 4.0)):
        (x, y), (v, w) = samples(4, n=40, dimension=30), samples(4, n=80, dimension=30)
        v = v + noise * v.std(0) * torch.randn(v.shape, generator=torch.Generator().manual_seed(seed))
        ranks = [(*standing(module._logistic(x, y, penalty).logits(v), w), penalty) for penalty in PENALTIES]
        first, _ = probe(x, y, v, w)
        assert (first.accuracy, first.penalty) == (max(ranks)[0], max(ranks)[2])
        penalties.add(first.penalty)
    assert len(penalties) > 1


@pytest.mark.parametrize("name", ["resnet_10", "densenet_26", "vit_tiny", "swin_tiny"])
def test_finetune_leaves_the_encoder_and_depends_on_the_seed_alone(name):
    network = encoder(name)
    before, runs = states(network), []
    for seed, elsewhere in ((0, 4), (0, 5), (1, 5)):
        torch.manual_seed(elsewhere)  # must not matter
        state = torch.random.get_rng_state()
        runs.append(tune(network, steps=3, seed=seed).logits)
        assert torch.equal(torch.random.get_rng_state(), state)
    assert same(before, network.state_dict()) and not network.training
    assert all(p.grad is None for p in network.parameters())
    assert torch.equal(runs[0], runs[1]) and runs[0].shape == (40, 10) and not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize("name", ["googlenet", "vit_tiny"])
@pytest.mark.parametrize("n_classes", [2, 10])
def test_training_starts_from_even_odds(name, n_classes):
    labels = small_task().train.labels % n_classes
    run = tune(encoder(name), n_classes=n_classes, labels=labels, learning_rate=0.0, weight_decay=0.0, steps=4)
    assert (run.logits == 0).all() and run.logits.shape == (40, n_classes)
    assert run.curve == pytest.approx([np.log(n_classes)] * 4, abs=1e-4)


class Scaled(torch.nn.Module):
    def __init__(self, encoder, factor):
        super().__init__()
        self.encoder, self.factor = copy.deepcopy(encoder).requires_grad_(False), factor

    def forward(self, x):
        return self.factor * self.encoder(x)


def test_the_scale_of_the_features_does_not_matter():
    """Training one step moves the logits as far whatever the features are multiplied with."""
    network = encoder("vit_tiny")
    one, *others = (tune(Scaled(network, factor), learning_rate=0.1, weight_decay=0.0, steps=3).logits for factor in (1.0, 1e-6, 1e6))
    assert one.abs().max() > 0.1
    for other in others:
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-3)


def test_features_that_are_constant_before_training():
    noise = 1e-8 * torch.tensor([[0.0], [1.0], [0.0], [1.0], [1.0]])
    for x in (torch.ones(5, 2), torch.zeros(5, 2), torch.ones(5, 2) + noise):
        standardise, _ = module._head(x, 2)
        assert standardise(x + 0.25).sub(0.25).abs().max() < 1e-6
    # One that wakes up does not explode.
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 4.0
    z = module._head(x, 2)[0](x + torch.tensor([0.0, 0.1, 0.0]))
    assert 50 < z[:, 1].min() and z[:, 1].max() < 200 and z[:, [0, 2]].abs().max() < 10


def test_a_network_that_sees_nothing_at_first_can_be_trained():
    """Both its weights and the head's begin at zero, a saddle that rounding alone leads away from: how soon depends on
    the processor. After 200 steps between .7 and 1 of the images were right; after 400 all, for three seeds on two
    processors, so that the floor of .8 leaves eight images of forty to the others."""
    torch.manual_seed(0)
    blind = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 8))
    torch.nn.init.zeros_(blind[1].weight)
    train = small_task().train
    run = tune(blind, evaluated=train.images, learning_rate=0.1, steps=400)
    assert right(run.logits, train.labels) > 0.8
    # One that sees fits its images sooner, and its loss falls.
    run = tune(encoder(), evaluated=train.images, steps=60, learning_rate=0.05, weight_decay=0.0)
    assert run.curve[0] > run.curve[1] > run.curve[3] and len(run.curve) == 4
    assert right(run.logits, train.labels) > 0.6


def test_recalibration_makes_evaluation_look_like_training():
    """Features of a batch, normalised by its own statistics and by the recalibrated ones."""
    images, network = small_task(200).train.images, encoder()
    before = states(network)
    found = module.recalibrated(network, images)
    assert same(before, network.state_dict()) and not found.training
    x = normalise(images[:200])
    with torch.no_grad():
        own, as_it_was, in_training = found(x), network(x), copy.deepcopy(network).train()(x)
    # Not zero: the views of training were moved and turned.
    assert (own - in_training).norm() < (as_it_was - in_training).norm() / 2
    norms = zip(found.modules(), network.modules())
    assert all(m.momentum == n.momentum for m, n in norms if isinstance(m, torch.nn.BatchNorm2d))
    again, other = (module.recalibrated(network, images, seed=seed) for seed in (0, 1))
    assert same(found.state_dict(), again.state_dict()) and not same(found.state_dict(), other.state_dict())
    network = encoder("vit_tiny")  # nothing to recalibrate
    found = module.recalibrated(network, images)
    assert found is not network and same(found.state_dict(), network.state_dict())


def test_steps_their_budget_and_the_four_quarters_of_a_curve(monkeypatch):
    for steps in (1, 4, 6, 9):
        run = tune(encoder("vit_tiny"), steps=steps, batch=8)
        assert len(run.curve) == 4 and run.logits.isfinite().all()
        assert np.isfinite(run.curve).sum() == min(steps, 4)
    monkeypatch.setattr(module, "STEPS", 3)
    monkeypatch.setattr(module, "PASSES", 0)
    once, twice, six = (tune(encoder("vit_tiny"), **options).logits for options in ({}, {"budget": 2}, {"steps": 6}))
    assert torch.equal(twice, six) and not torch.equal(twice, once)


@pytest.mark.parametrize(("n", "batch"), [(10, 4), (10, 10), (7, 64), (100, 64), (64, 1)])
def test_each_image_comes_once_before_any_comes_again(n, batch):
    batches = list(module._batches(n, batch, 30, torch.Generator().manual_seed(0)))
    assert [len(index) for index in batches] == [min(n, batch)] * 30
    order = torch.cat(batches)
    passes = order[: len(order) // n * n].view(-1, n)
    assert torch.equal(passes.sort(1).values, torch.arange(n).expand_as(passes))
    rest = order[passes.numel() :]
    assert len(rest.unique()) == len(rest)
    assert len(passes) < 2 or not torch.equal(passes[0], passes[1])


@pytest.mark.parametrize("steps", [1, 2, 10, 37, 200])
def test_schedule(steps):
    warm = max(1, steps // 10)
    factors = np.array([module._factor(step, steps, warm) for step in range(steps + 1)])
    assert factors[:warm] == pytest.approx(np.arange(1, warm + 1) / warm)
    assert factors.max() == factors[warm - 1] == 1 and (factors[:steps] > 0).all() and (np.diff(factors[warm:]) < 0).all()
    assert steps == 1 or factors[steps] == 0
    assert steps == 1 or module._factor(warm + (steps - warm) / 2, steps, warm) == pytest.approx(0.5)


def test_choice_is_the_best_on_the_validation_images_and_does_not_look_at_the_test_labels(chosen):
    task, network, before, choice = chosen
    other = replace(task, test=Part(task.test.images, (task.test.labels + 1) % 10))
    two = choose(network, other, **FEW)
    assert same(before, network.state_dict())
    assert choice[:3] == two[:3]
    assert torch.equal(choice.probe.weight, two.probe.weight) and choice.probe[4:] == two.probe[4:]
    logits = choice.probe.logits(features(network, task.test.images))
    assert [choice.probe_accuracy, two.probe_accuracy] == [right(logits, each.test.labels) for each in (task, other)]

    y, w = task.train.labels, task.validation.labels
    _, final = probe(features(network, task.train.images), y, features(network, task.validation.images), w)
    assert torch.equal(choice.probe.weight, final.weight)

    def rank(rate, decay):
        run = tune(network, evaluated=task.validation.images, learning_rate=rate, weight_decay=decay, steps=FEW["steps"])
        return *standing(run.logits, w), rate, decay

    rates, decays = FEW["rates"], FEW["decays"]
    ranks = [rank(rate, decays[0]) for rate in rates]
    ranks.append(rank(max(ranks)[2], decays[1]))
    assert choice[:2] == max(ranks)[2:] and choice.validation_accuracy == max(ranks)[0]


def test_diverging_rates_are_passed_over():
    task, network = small_task(), encoder("vit_tiny")
    for steps in (1, 3):
        with pytest.raises(FloatingPointError, match=r"^fine-tuning diverged at learning rate 1e\+38$"):
            tune(network, steps=steps, learning_rate=1e38)
    choice = choose(network, task, rates=(1e38, 0.01, 1e37), decays=(1e-4,), steps=3)
    assert choice[:2] == (0.01, 1e-4)
    with pytest.raises(FloatingPointError, match=r"^fine-tuning diverged at every learning rate of \(1e\+38, 1e\+37\)$"):
        choose(network, task, rates=(1e38, 1e37), steps=3)


def test_measure(chosen):
    task, network, _, choice = chosen
    cell = measure(network, task, choice, steps=3)
    p = cell.probabilities
    assert p.shape == (40, 10) and p.dtype == np.float16
    assert p.astype(float).sum(1) == pytest.approx(1, abs=2e-3)
    top, own = p.max(1), p[np.arange(40), task.test.labels.numpy()]
    ties = (p == top[:, None]).sum(1) > 1
    assert ((own == top) & ~ties).mean() <= cell.accuracy <= (own == top).mean()
    assert cell.seconds > 0 and len(cell.curve) == 4
    # Training and validation images together.
    images, labels = (torch.cat([getattr(part, what) for part in task.parts[:2]]) for what in ("images", "labels"))
    rates = {"learning_rate": choice.learning_rate, "weight_decay": choice.weight_decay}
    run = finetune(network, 10, images, labels, task.test.images, steps=3, **rates)
    assert np.array_equal(run.logits.softmax(1).half().numpy(), p)
    assert not np.array_equal(measure(network, task, choice, seed=1, steps=3).probabilities, p)


def test_measure_keeps_a_record(chosen, tmp_path, monkeypatch):
    task, network, _, choice = chosen
    path = tmp_path / "mine.csv"
    found = [measure(network, task, choice, seed=seed, steps=1, record=path, network="mine").accuracy for seed in (0, 1)]
    assert list(read_runs(path).itertuples(index=False, name=None)) == [("mine", "digits", seed, found[seed]) for seed in (0, 1)]
    path.write_text("network,task")
    monkeypatch.setattr("sfda.benchmark.finetune.finetune", None)  # nothing is trained for a record that cannot be kept
    with pytest.raises(ValueError, match="its last line is cut off"):
        measure(network, task, choice, record=path, network="mine")
    with pytest.raises(ValueError, match="^network: expected a name for the record, got None$"):
        measure(network, task, choice, record=tmp_path / "new.csv")


def test_every_pair_of_a_rate_and_a_decay_divided_by_it(monkeypatch):
    task, tried = small_task(), []

    def record(encoder, n_classes, images, labels, evaluated, *, learning_rate, weight_decay, **options):
        tried.append((learning_rate, weight_decay))
        logits = functional.one_hot(task.validation.labels, n_classes).double()
        return module.Run(logits if len(tried) == 3 else -logits, [0.0] * 4)

    monkeypatch.setattr(module, "finetune", record)
    choice = choose(encoder(), task, rates=(0.1, 0.01), decays=(0.0, 1e-3), every_pair=True)
    assert tried == [(0.1, 0.0), (0.1, 1e-3 / 0.1), (0.01, 0.0), (0.01, 1e-3 / 0.01)]
    assert choice[:3] == (0.01, 0.0, 1.0)


def test_plain_fine_tuning_adds_nothing(monkeypatch):
    """One step of plain SGD with Nesterov momentum and weight decay, computed by hand."""
    network, task = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 6)), small_task()
    monkeypatch.setattr(module.augment, "weak", lambda images, generator, mirror: normalise(images))
    run = tune(network, steps=1, batch=40, plain=True, learning_rate=0.1, weight_decay=0.5, seed=4)
    model = torch.nn.Sequential(copy.deepcopy(network), module._plain_head(6, 10, 4))
    loss = functional.cross_entropy(model(normalise(task.train.images)), task.train.labels)
    grads = torch.autograd.grad(loss, list(model.parameters()))
    with torch.no_grad():
        for parameter, grad in zip(model.parameters(), grads):
            # Of the first step, Nesterov's is 1 + 0.9 times the gradient.
            parameter -= 0.1 * 1.9 * (grad + 0.5 * parameter)
        torch.testing.assert_close(run.logits, model(normalise(task.test.images)), rtol=1e-4, atol=1e-5)
    assert run.curve[0] == pytest.approx(loss.item(), abs=1e-4)


def test_several_labels_an_image():
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
    labels = torch.tensor([[1.0, 0.0, -1.0], [-1.0, 1.0, 1.0]])
    p = torch.sigmoid(logits)
    own = [p[0, 0], 1 - p[0, 1], p[1, 1], p[1, 2]]
    assert module.loss_of(logits, labels).item() == pytest.approx(-np.mean(np.log(own)), rel=1e-5)
    assert module.first_labels(labels).tolist() == [0, 1]
    assert module.first_labels(torch.tensor([3, 1])).tolist() == [3, 1]
    # They are measured as the task says.
    task, seen = small_task(), set()

    def judge(logits, labels):
        seen.add((logits.shape, labels.shape))
        return 0.25

    several = [Part(part.images, part.labels) for part in task.parts]
    for part in several:
        part.labels = functional.one_hot(part.labels, 10).float()
    task = LoadedTask(task.task, *several, measure=judge)
    choice = choose(encoder(), task, rates=(0.01,), decays=(0.0,), steps=2)
    cell = measure(encoder(), task, choice, steps=2)
    assert cell.accuracy == choice.validation_accuracy == choice.probe_accuracy == 0.25
    assert seen == {((40, 10), (40, 10))}
    # Each label for itself: the probabilities of an image do not add up to one.
    assert abs(cell.probabilities.astype(float).sum(1) - 1).max() > 0.1
