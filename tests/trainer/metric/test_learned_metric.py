"""The metric that ships: bounds, gradients, what a flip does, pretraining that resumes, fits that learn from people, the ONNX file."""

import copy
import pathlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from streamsr.compare.vmaf import find_ffmpeg
from trainer.metric.agreement import majorities
from trainer.metric.distorted_set import Subject, Version
from trainer.metric.ensemble import MetricEnsemble
from trainer.metric.feature_cache import Group, Looks, look_at, measure_variances
from trainer.metric.feature_distance import dists, lpips, structure_terms
from trainer.metric.fit import Fits, Juror, Pull, Seen, fit, scores_of
from trainer.metric.learned_metric import Metric
from trainer.metric.opinions import Choice, Opinions, Rating
from trainer.metric.pban_network import EfficientPban
from trainer.metric.pretrain import PretrainRecipe, ordered_pairs, pretrain, pretraining_loss
from trainer.trainer_error import TrainerError

FLIP_TOLERANCE = 0.01  # of the range (0, 1]: the distances see a flip less than the network's opinion does
Draw = Callable[[int, int, int], np.ndarray]


@pytest.fixture(scope="module")
def metric(tmp_path_factory: pytest.TempPathFactory, draw_picture: Draw) -> Metric:
    torch.manual_seed(0)
    network = EfficientPban().eval()
    file = tmp_path_factory.mktemp("variance") / "picture.png"
    Image.fromarray(draw_picture(160, 160, 0)).save(file)
    metric = Metric(network, measure_variances(network.encoder, [file])).eval()
    torch.nn.init.normal_(network.judge.weight, std=0.1)
    return metric


def tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255


@torch.no_grad()
def test_equal_pictures_score_one_and_worse_ones_less(metric: Metric, draw_picture: Draw) -> None:
    hr = tensor(draw_picture(128, 160, 0))
    noise = torch.randn(hr.shape, generator=torch.Generator().manual_seed(0))
    scores = [float(metric((hr + sigma * noise).clamp(0, 1), hr)) for sigma in (0.0, 0.02, 0.08, 0.3)]
    assert scores[0] == pytest.approx(1, abs=1e-6)
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] > 0
    assert scores[1] - scores[-1] > 0.1


@torch.no_grad()
def test_a_score_does_not_depend_on_the_batch_and_little_on_a_flip(metric: Metric, draw_picture: Draw) -> None:
    hr = torch.cat([tensor(draw_picture(128, 128, seed)) for seed in (0, 1)])
    sr = torch.nn.functional.avg_pool2d(hr, 3, 1, 1)
    together = metric(sr, hr)
    assert torch.allclose(metric(sr[1:], hr[1:]), together[1:], atol=1e-5)
    for axis in (2, 3):
        assert (metric(sr.flip(axis), hr.flip(axis)) - together).abs().max() < FLIP_TOLERANCE


@pytest.mark.parametrize("side", [96, 97, 160])
def test_gradients_reach_both_inputs_and_are_finite_for_equal_pictures(metric: Metric, draw_picture: Draw, side: int) -> None:
    hr = tensor(draw_picture(side, side, 0))
    for sr in (hr.clone(), torch.nn.functional.avg_pool2d(hr, 3, 1, 1)):
        pictures = (sr.requires_grad_(), hr.clone().requires_grad_())
        metric(*pictures).sum().backward()
        for x in pictures:
            assert x.grad is not None
            assert x.grad.isfinite().all()
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in pictures)  # of the blurred picture and of its original


@pytest.mark.parametrize("size", [(97, 131), (255, 113), (97, 3839)], ids=str)
@torch.no_grad()
def test_odd_sizes_up_to_the_width_of_4k_have_a_score(metric: Metric, draw_picture: Draw, size: tuple[int, int]) -> None:
    small = tensor(draw_picture(96, 96, 0))
    hr = torch.nn.functional.interpolate(small, size, mode="bicubic").clamp(0, 1)
    scores = [float(metric(sr, hr)) for sr in (hr, torch.nn.functional.avg_pool2d(hr, 9, 1, 4))]
    assert scores[0] == pytest.approx(1, abs=1e-6)
    assert 0 < scores[1] < 0.99


def test_as_a_loss_it_brings_a_picture_nearer_to_its_original(metric: Metric, draw_picture: Draw) -> None:
    hr = tensor(draw_picture(96, 96, 0))
    sr = torch.nn.functional.avg_pool2d(hr, 3, 1, 1).requires_grad_()
    optimiser = torch.optim.Adam([sr], lr=0.01)
    scores = []
    for _ in range(6):
        score = metric(sr, hr).mean()
        optimiser.zero_grad()
        (1 - score).backward()
        optimiser.step()
        scores.append(float(score.detach()))
    assert scores[-1] > scores[0] + 0.01


def test_wrong_shapes_are_refused(metric: Metric) -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        metric(torch.zeros(1, 3, 96, 96), torch.zeros(1, 3, 96, 128))
    with pytest.raises(ValueError, match="96 pixels"):
        metric(torch.zeros(1, 3, 64, 96), torch.zeros(1, 3, 64, 96))
    with pytest.raises(ValueError, match="whole batch"):
        Metric(EfficientPban(behaviour="paper"), metric.variances)


def test_structure_terms_agree_with_a_float64_loop() -> None:
    rng = np.random.default_rng(0)
    sr, hr = rng.normal(2, 1, (2, 3, 9, 8))
    variance = np.array([1.0, 0.5, 2.0])
    pad = [np.pad(x, ((0, 0), (2, 2), (2, 2)), mode="edge") for x in (sr, hr)]
    luminance, structure, contrast = np.zeros((3, 9, 8)), np.zeros((3, 9, 8)), np.zeros((9, 8))
    for c, i, j in np.ndindex(3, 9, 8):
        a, b = (x[c, i : i + 5, j : j + 5] for x in pad)
        floor = 0.01 * variance[c]
        luminance[c, i, j] = 1 - (2 * a.mean() * b.mean() + floor) / (a.mean() ** 2 + b.mean() ** 2 + floor)
        structure[c, i, j] = 1 - (2 * ((a - a.mean()) * (b - b.mean())).mean() + floor) / (a.var() + b.var() + floor)
        contrast[i, j] += max(a.var(), b.var()) / variance[c] / 3
    weight = (contrast + 1e-4) / (contrast + 1e-4).sum()
    got = structure_terms(*(torch.from_numpy(x)[None] for x in (sr, hr)), torch.from_numpy(variance))[0].numpy()
    assert np.allclose(got[0], (weight * luminance).sum((1, 2)))
    assert np.allclose(got[1], (weight * structure).sum((1, 2)))


def test_untrained_distances_are_the_published_forms() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, (2, 4, 6, 5))
    unit = [x / np.linalg.norm(x, axis=0) for x in (a, b)]
    stages = [[torch.from_numpy(x)[None]] for x in (a, b)]
    assert float(lpips(*stages)) == pytest.approx(((unit[0] - unit[1]) ** 2).sum(0).mean())
    texture = [2 * x.mean() * y.mean() / (x.mean() ** 2 + y.mean() ** 2) for x, y in zip(a, b, strict=True)]
    structure = [2 * np.cov(x.ravel(), y.ravel(), bias=True)[0, 1] / (x.var() + y.var()) for x, y in zip(a, b, strict=True)]
    assert float(dists(*stages)) == pytest.approx(1 - (np.mean(texture) + np.mean(structure)) / 2, abs=1e-5)


def test_looks_are_kept_and_sizes_checked(metric: Metric, tmp_path: pathlib.Path, draw_picture: Draw) -> None:
    for name, shape in (("o", (96, 96)), ("a", (96, 96)), ("b", (96, 98))):
        Image.fromarray(draw_picture(*shape, 1)).save(tmp_path / f"{name}.png")
    group = Group("x", tmp_path / "o.png", (tmp_path / "a.png",))
    first = look_at(metric.network.encoder, metric.variances, group, tmp_path / "cache")
    assert first.terms.shape == (1, metric.channels.numel())
    assert first.sr.dtype == torch.float16
    [kept] = (tmp_path / "cache").iterdir()
    written = kept.stat().st_mtime_ns
    assert torch.equal(look_at(metric.network.encoder, metric.variances, group, tmp_path / "cache").terms, first.terms)
    assert kept.stat().st_mtime_ns == written
    with pytest.raises(TrainerError, match=r"b\.png' is 98 x 96, its original .*o\.png' 96 x 96"):
        look_at(metric.network.encoder, metric.variances, Group("x", tmp_path / "o.png", (tmp_path / "b.png",)), tmp_path / "cache")


def subject(scores: list[float]) -> Subject:
    """Two families of two severities."""
    versions = [Version(f"{i}.png", "jpeg" if i < 2 else "blur", i % 2, "", {"vmaf_neg": s}) for i, s in enumerate(scores)]
    return Subject("p.png", "o.png", False, versions)


def test_severity_orders_a_family_and_pseudo_labels_order_the_rest() -> None:
    better, worse = ordered_pairs(subject([50, 90, 80, 30]), margin=0.25)
    # within a family the severity counts, though the pseudo-labels of the first family say otherwise
    assert set(zip(better.tolist(), worse.tolist(), strict=True)) == {(0, 1), (2, 3), (1, 3), (2, 0)}


def test_the_pretraining_loss_prefers_the_right_order() -> None:
    one, recipe = subject([90, 60, 85, 50]), PretrainRecipe(regression=0.0)
    right, wrong = torch.tensor([0.1, 0.5, 0.15, 0.7]), torch.tensor([0.7, 0.5, 0.6, 0.1])
    assert pretraining_loss(right, one, recipe) < 0.3 * pretraining_loss(wrong, one, recipe)


def random_looks(metric: Metric, seed: int) -> Looks:
    generator = torch.Generator().manual_seed(seed)
    severity = torch.tensor([0.1, 0.4, 0.2, 0.6])[:, None]
    terms = severity * torch.rand(4, metric.channels.numel(), generator=generator)
    channels = metric.network.encoder.channels[-1]
    hr = torch.randn(1, channels, 8, 8, generator=generator)
    sr = hr + severity[:, :, None, None] * torch.randn(4, channels, 8, 8, generator=generator)
    return Looks(terms, sr.half(), hr.half(), torch.zeros(4), torch.zeros(4))


def test_a_resumed_pretraining_is_the_same_pretraining(metric: Metric, tmp_path: pathlib.Path) -> None:
    subjects, looks = [subject([90, 60, 85, 50])] * 3, [random_looks(metric, seed) for seed in range(3)]
    start = copy.deepcopy(metric)
    whole = pretrain(copy.deepcopy(start), subjects, looks, PretrainRecipe(steps=4, window=6), tmp_path / "whole")
    pretrain(copy.deepcopy(start), subjects, looks, PretrainRecipe(steps=2, window=6), tmp_path / "parts")
    parts = pretrain(copy.deepcopy(start), subjects, looks, PretrainRecipe(steps=4, window=6), tmp_path / "parts")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    assert not torch.equal(whole.network.judge.weight, start.network.judge.weight)
    assert torch.equal(whole.network.encoder.blocks[0]._project_conv.weight, start.network.encoder.blocks[0]._project_conv.weight)
    with pytest.raises(TrainerError, match=r"another run \(lr 0\.001 there, 0\.1 here"):
        pretrain(copy.deepcopy(start), subjects, looks, PretrainRecipe(steps=6, window=6, lr=0.1), tmp_path / "parts")
    (tmp_path / "parts" / "pretrained.ckpt").write_bytes(b"noise")
    with pytest.raises(TrainerError, match="not a checkpoint"):
        pretrain(copy.deepcopy(start), subjects, looks, PretrainRecipe(steps=6, window=6), tmp_path / "parts")


def test_a_loss_that_is_no_number_stops_the_run(metric: Metric, tmp_path: pathlib.Path) -> None:
    looks = random_looks(metric, 0)
    looks.terms[:] = float("nan")
    with pytest.raises(TrainerError, match="loss is nan at step 0"):
        pretrain(copy.deepcopy(metric), [subject([90, 60, 85, 50])], [looks], PretrainRecipe(steps=1, window=6), tmp_path)


def people(metric: Metric) -> tuple[Seen, Opinions]:
    """Four contents of five pictures whose people look at the first distance alone, and at one impression."""
    generator = torch.Generator().manual_seed(3)
    terms = 0.3 * torch.rand(20, metric.channels.numel(), generator=generator)
    first = metric.get_buffer("place") == 0
    truth = torch.rand(20, generator=generator)
    terms[:, first] = truth[:, None]
    impressions = 0.1 * torch.randn(20, 256, generator=generator)
    impressions[:, 0] = -4 * truth
    names = [f"{i // 5}_{i % 5}" for i in range(20)]
    choices, ratings = [], []
    for i in range(20):
        ratings.append(Rating(names[i], f"{i // 5}_o", 5 - 3 * float(truth[i]), str(i // 5)))
        for j in range(i + 1, i // 5 * 5 + 5):
            share = int(torch.round(30 * torch.sigmoid(8 * (truth[j] - truth[i]))))
            content = str(i // 5)
            choices.append(Choice(names[i], names[j], share, 30 - share, f"{content}_o", f"{content}_o", content, content))
    return Seen(terms, impressions, {name: i for i, name in enumerate(names)}), Opinions("people", None, ratings, choices)


def blank(metric: Metric) -> Metric:
    copied = copy.deepcopy(metric)
    torch.nn.init.zeros_(copied.network.judge.weight)
    return copied


def test_left_out_contents_are_predicted_better_after_a_fit(metric: Metric) -> None:
    seen, opinions = people(metric)
    juror = Juror(blank(metric), seen)
    before, _ = majorities(opinions.choices, scores_of(juror.energies(), seen.row))
    fits = Fits([juror], opinions)
    scores, chosen = fits.leave_one_out([1e-3])
    after, _ = majorities(opinions.choices, scores)
    assert sorted(scores) == sorted(seen.row)
    assert sorted(chosen) == ["0", "1", "2", "3"]
    assert after.percent > before.percent + 5
    assert fits.choose_pull(opinions.contents, [None, 1e-3]) == 1e-3


@pytest.mark.parametrize("pull", [None, 1e-2])
def test_a_common_part_of_the_impressions_changes_no_fit(metric: Metric, pull: Pull) -> None:
    seen, opinions = people(metric)
    plain = Juror(blank(metric), seen)
    moved = Juror(blank(metric), Seen(seen.terms, seen.impressions + 20, seen.row))
    one, other = (fit(juror, opinions, pull).energies(juror) for juror in (plain, moved))
    assert torch.allclose(one, other, rtol=1e-3)
    assert torch.equal(one, plain.energies().double()) == (pull is None)


def test_a_fit_finds_the_least_loss(metric: Metric) -> None:
    seen, opinions = people(metric)
    juror, pull = Juror(blank(metric), seen), 1e-2
    judge = fit(juror, opinions, pull, steps=400)

    def loss(step: float, seed: int) -> float:
        """By hand, in numpy, beside the weights found."""
        weight = judge.weight.numpy() + step * np.random.default_rng(seed).normal(0, 1, 256)
        middle = seen.impressions.double().numpy().mean(0)
        bias = float(judge.bias) + float(judge.weight.numpy() @ middle)
        opinion = (seen.impressions.double().numpy() - middle) @ weight + bias
        energy = juror.metric.distance(seen.terms).detach().double().numpy() * np.exp(-juror.metric.reach * np.tanh(opinion))
        total = []
        for c in opinions.choices:
            u, share = judge.sharpness * (energy[seen.row[c.image_b]] - energy[seen.row[c.image_a]]), c.prefer_a / 30
            total.append(np.logaddexp(0, u) - share * u)
        scores, truth = np.exp(-energy), np.array([r.score for r in opinions.ratings])
        r = np.corrcoef(scores[[seen.row[x.picture] for x in opinions.ratings]], truth)[0, 1]
        return float(np.mean(total) + 1 - r * abs(r) + pull * (weight @ weight + bias**2))

    assert all(loss(0, 0) < loss(step, seed) for step in (1e-2, -1e-2) for seed in range(5))


def test_a_jury_takes_the_geometric_mean_of_distances(metric: Metric, draw_picture: Draw) -> None:
    hr = tensor(draw_picture(96, 128, 0))
    sr = torch.nn.functional.avg_pool2d(hr, 3, 1, 1)
    jurors = []
    for seed in range(3):
        torch.manual_seed(seed)
        juror = copy.deepcopy(metric)
        torch.nn.init.normal_(juror.network.judge.weight, std=0.1)
        jurors.append(juror)
    with torch.no_grad():
        logs = [float(juror.energy(sr, hr).log()) for juror in jurors]
        jury = MetricEnsemble(jurors)
        assert float(jury.energy(sr, hr).log()) == pytest.approx(np.mean(logs), abs=1e-5)
        assert float(jury(hr, hr)) == pytest.approx(1, abs=1e-6)
    assert np.std(logs) > 1e-3
    with pytest.raises(ValueError, match="differ in reach"):
        MetricEnsemble([jurors[0], Metric(EfficientPban(), metric.variances, reach=0.2)])
    with pytest.raises(ValueError, match="or more"):
        MetricEnsemble([])


def test_a_jury_learns_like_the_mean_of_its_jurors(metric: Metric) -> None:
    seen, opinions = people(metric)
    generator = torch.Generator().manual_seed(1)
    seens = [Seen(seen.terms, seen.impressions + torch.randn(20, 256, generator=generator), seen.row) for _ in range(2)]
    jurors = [Juror(blank(metric), each) for each in seens]
    energy, sharpness = Fits(jurors, opinions).energy(["0", "1", "2"], 1e-2)
    judges = [fit(juror, opinions.of(["0", "1", "2"]), 1e-2) for juror in jurors]
    expected = np.sqrt(np.prod([judge.energies(juror).numpy() for judge, juror in zip(judges, jurors, strict=True)], axis=0))
    assert np.allclose(energy.numpy(), expected)
    assert sharpness == pytest.approx(np.sqrt(judges[0].sharpness * judges[1].sharpness))
    seated = [Juror(judge.seated(juror.metric), juror.seen).energies().numpy() for judge, juror in zip(judges, jurors, strict=True)]
    assert np.allclose(np.sqrt(np.prod(seated, axis=0)), expected, rtol=1e-4)


def test_scores_are_fitted_by_regression(metric: Metric) -> None:
    seen, opinions = people(metric)
    rated = Opinions("rated", None, opinions.ratings)
    juror = Juror(blank(metric), seen)
    fitted = fit(juror, rated, 1e-3).energies(juror)
    truth = np.array([r.score for r in rated.ratings])

    def correlation(energy: Tensor) -> float:
        scores = scores_of(energy, seen.row)
        return float(np.corrcoef(truth, [scores[r.picture] for r in rated.ratings])[0, 1])

    assert correlation(fitted) > correlation(juror.energies()) + 0.05


def test_onnx_gives_what_torch_gives_in_both_engines(metric: Metric, tmp_path: pathlib.Path, draw_picture: Draw) -> None:
    from streamsr.compare.pban import PbanScorer
    from trainer.metric.metric_export import TOLERANCE, ship

    torch.manual_seed(1)
    other = Metric(EfficientPban().eval(), metric.variances).eval()
    torch.nn.init.normal_(other.network.judge.weight, std=0.1)
    jury = MetricEnsemble([metric, other]).eval()
    card = ship(jury, tmp_path, {"trained_on": "nothing"})
    # 8.1 MB alone: the second juror adds its streams, the encoder is there once
    assert (tmp_path / card["file"]).stat().st_size < 14.5e6
    hr = draw_picture(131, 97, 0)
    sr = np.clip(hr.astype(int) + np.random.default_rng(0).normal(0, 12, hr.shape), 0, 255).astype(np.uint8)
    with torch.no_grad():
        expected = float(jury(tensor(sr), tensor(hr)))
    assert 0.05 < expected < 0.95
    for engine in ("openvino", "onnxruntime"):
        judge = PbanScorer(tmp_path / "efficient_pban.json", engine=engine)
        assert judge(sr, hr) == pytest.approx(expected, abs=TOLERANCE)
        assert judge(hr, hr) == pytest.approx(1, abs=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(find_ffmpeg() is None, reason="no ffmpeg with libvmaf")
def test_the_study_trains_reports_and_ships(tmp_path: pathlib.Path, draw_picture: Draw) -> None:
    from trainer.metric.distorted_set import DistortOptions, build_set
    from trainer.metric.experiment import StudyOptions, load_metric, study, table_of

    photos, images = tmp_path / "photos", tmp_path / "images"
    photos.mkdir()
    images.mkdir()
    for i in range(2):
        Image.fromarray(draw_picture(180, 180, i)).save(photos / f"picture_{i}.png")
    lines = ["image_a,image_b,prefer_a,prefer_b"]
    for content in ("1", "2", "3"):
        picture = draw_picture(180, 180, 10 + int(content))
        noise = np.random.default_rng(int(content)).normal(0, 1, picture.shape)
        for name, sigma in (("original", 0), ("a", 5), ("b", 40)):
            Image.fromarray(np.clip(picture + sigma * noise, 0, 255).astype(np.uint8)).save(images / f"{content}_{name}.png")
        lines += [f"{content}_a.png,{content}_b.png,9,1", f"{content}_b.png,{content}_original.png,1,9"]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    build_set(photos, tmp_path / "set", DistortOptions(photos=2, families=1, side=176))
    options = StudyOptions(tmp_path / "run", tmp_path / "cache", jurors=2)
    report = study(tmp_path / "set", tmp_path / "pairs.csv", images, PretrainRecipe(steps=1, window=4), options)
    mine = report["measures"]["Efficient-PBAN, content left out"]
    assert (mine["all"]["count"], mine["without_original"]["count"]) == (6, 3)
    assert mine["all"]["percent"] == 100
    assert "| PSNR | 100.0 %" in table_of(report)
    assert [name for name in report["measures"] if "seed" in name] == [
        f"one network of them (seed {seed}), content left out" for seed in range(2)
    ]
    loaded = load_metric(tmp_path / "run")
    assert not any(p.requires_grad for p in loaded.parameters())
    assert len(loaded.jurors) == 2
    assert not torch.equal(loaded.jurors[0].network.judge.weight, loaded.jurors[1].network.judge.weight)
    hr = tensor(draw_picture(96, 96, 0))
    assert 0 < float(loaded(torch.nn.functional.avg_pool2d(hr, 3, 1, 1), hr)) < 1
    with pytest.raises(TrainerError, match="no metric at"):
        load_metric(tmp_path / "nowhere")
