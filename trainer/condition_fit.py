"""Fits what estimates a source's condition (streamsr.upscaling.source_condition) on the pool's pairs, whose condition is known."""

import pathlib
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from streamsr.upscaling.source_condition import estimate, measure
from trainer.data.scene_pool import Scene

HIDDEN, STEPS, NOISE, DECAY = 64, 6000, 0.2, 0.3  # of 6 settings tried, the one with the smallest errors on validation scenes


def statistics(scenes: list[Scene]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(n, features) and (n, 2) of every way and frame."""
    x, y = [], []
    for scene in scenes:
        for way, condition in zip(scene.ly, scene.condition, strict=True):
            for luma in way:
                x.append(measure(luma))
                y.append(condition)
    return np.stack(x), np.stack(y)


def with_estimates(scenes: list[Scene], file: pathlib.Path) -> list[Scene]:
    """The scenes with what the fitted estimator takes their conditions for."""
    estimates = [[estimate(list(way), weights=file) for way in scene.ly] for scene in scenes]
    return [
        replace(scene, estimated=np.array([(one.blur, one.damage) for one in told], np.float32))
        for scene, told in zip(scenes, estimates, strict=True)
    ]


def fit(training: list[Scene], validation: list[Scene], file: pathlib.Path) -> dict[str, float]:
    """Write `file`; returns the root mean square errors of blur and damage (0 to 1), and the share within a quarter of the range."""
    torch.manual_seed(0)
    x, y = statistics(training)
    mean, scale = x.mean(0), 1 / (x.std(0) + 1e-3)
    net = nn.Sequential(nn.Linear(x.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2))
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=DECAY)
    inputs, targets = torch.from_numpy((x - mean) * scale), torch.from_numpy(y)
    for step in range(STEPS):
        chosen = torch.randint(len(inputs), (256,))
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * (1 - step / STEPS)
        noisy = inputs[chosen] + NOISE * torch.randn(256, inputs.shape[1])
        loss = (net(noisy) - targets[chosen]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    first, second = net[0], net[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    parts = {"w0": first.weight.T, "b0": first.bias, "w1": second.weight.T, "b1": second.bias}
    arrays = {"mean": mean, "scale": scale} | {name: part.detach().numpy().astype(np.float32) for name, part in parts.items()}
    np.savez(file, **arrays)  # type: ignore[arg-type]
    x, y = statistics(validation)
    with torch.no_grad():
        errors = net(torch.from_numpy((x - mean) * scale)).clamp(0, 1).numpy() - y
    rms = np.sqrt((errors**2).mean(0))
    return {"blur": float(rms[0]), "damage": float(rms[1]), "blur_within_quarter": float((np.abs(errors[:, 0]) < 0.25).mean())}
