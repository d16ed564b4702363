"""The cache of plans: whole or not at all, never one for another that was asked for, and damage is seen."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from streamsr.engines.plan_cache import ENVIRONMENT, DamagedPlanError, Plan, PlanCache, PlanKey, PlanPart, cache_folder
from streamsr.engines.step_lane import Attention, Tensor
from streamsr.errors import EngineError

KEY = PlanKey("lite_x2", "a" * 64, (1, 480, 640), (1, 480, 640), (1, 480, 640), "f16", "tensorrt", "10.9.0", "NVIDIA Test", "8.9")
OTHERS = {
    "sha256": "b" * 64, "usual": (1, 480, 642), "precision": "f32", "flavour": "tensorrt_rtx", "version": "10.9.1", "gpu": "NVIDIA Other",
    "capability": "9.0",
}  # fmt: skip


def plan_of(key: PlanKey = KEY) -> Plan:
    luma, luma_hr, state = Tensor("luma", 1), Tensor("luma_hr", 1, 2), Tensor("state", 8)
    steps = (
        PlanPart((luma,), (state,), b"first part", {"luma": "x", "state": "y"}),
        Attention((state, state, state), Tensor("seen", 8), 6),
        PlanPart((luma, Tensor("seen", 8)), (luma_hr,), os.urandom(5000), {"luma": "luma", "seen": "seen", "luma_hr": "out"}),
    )
    return Plan(key, steps)


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    return PlanCache(tmp_path / "engines")


def test_a_plan_comes_back_as_it_was(cache: PlanCache) -> None:
    plan = plan_of()
    path = cache.write(plan)
    assert cache.find(KEY) == plan
    assert list(cache.entries()) == [(path, KEY)]
    assert path.name.startswith("lite_x2-1x640x480-f16-")
    assert [file.name for file in cache.folder.iterdir()] == [path.name]


@pytest.mark.parametrize("name", OTHERS)
def test_a_plan_of_another_kind_is_not_found(cache: PlanCache, name: str) -> None:
    cache.write(plan_of())
    assert cache.find(replace(KEY, **{name: OTHERS[name]})) is None


def test_a_copy_under_another_name_is_refused(cache: PlanCache) -> None:
    other = replace(KEY, version="11.0.0")
    cache.write(plan_of()).rename(cache.path(other))
    with pytest.raises(DamagedPlanError, match="another key"):
        cache.find(other)


@pytest.mark.parametrize("damage", ["flipped", "short", "long", "empty", "header"])
def test_damage_is_seen(cache: PlanCache, damage: str) -> None:
    path = cache.write(plan_of())
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[-100] ^= 1
    path.write_bytes({"flipped": data, "short": data[:-1], "long": data + b"x", "empty": b"", "header": data[:60]}[damage])
    with pytest.raises(DamagedPlanError, match=r"damaged|not built by"):
        cache.find(KEY)


def test_a_write_that_fails_leaves_nothing(cache: PlanCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EngineError, match=f"No space left.*{ENVIRONMENT}"):
        cache.write(plan_of())
    assert list(cache.folder.iterdir()) == []
    assert cache.find(KEY) is None


def test_dynamic_plans_take_what_lies_between() -> None:
    key = replace(KEY, smallest=(1, 16, 16), largest=(4, 1080, 1920))
    assert key.takes((1, 480, 640))
    assert key.takes((4, 1080, 1920))
    assert not key.takes((5, 480, 640))
    assert not key.takes((1, 8, 640))
    assert "dynamic" in key.file_name
    assert KEY.takes((1, 480, 640))
    assert not KEY.takes((1, 480, 642))


def test_clear_takes_one_model_or_what_is_stale_or_all(cache: PlanCache) -> None:
    keys = [KEY, replace(KEY, model="lite_x3"), replace(KEY, model="base_x2", version="9.0"), replace(KEY, model="lite-clean_x2")]
    paths = [cache.write(plan_of(key)) for key in keys]
    cache.write_blob("timing-x.cache", b"t")
    (cache.folder / "broken.plan").write_bytes(b"?")
    assert set(cache.clear(stale={"tensorrt": "10.9.0"})) == {paths[2], cache.folder / "broken.plan"}
    assert cache.clear("lite_x3") == [paths[1]]
    assert cache.clear("lite") == [paths[0]]
    assert cache.read_blob("timing-x.cache") == b"t"
    assert set(cache.clear()) == {paths[3], cache.folder / "timing-x.cache"}
    assert list(cache.folder.iterdir()) == []


def test_the_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "streamsr"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path.home() / ".cache" / "streamsr"
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    assert PlanCache().folder == tmp_path / "own" / "engines"


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_others_may_not_write_plans(cache: PlanCache) -> None:
    path = cache.write(plan_of())
    assert cache.folder.stat().st_mode & 0o077 == 0
    assert path.stat().st_mode & 0o077 == 0


def test_one_process_at_a_time_holds_the_lock_and_a_dead_one_frees_it(cache: PlanCache) -> None:
    code = (
        "import sys, time; from pathlib import Path; from streamsr.engines.plan_cache import PlanCache, PlanKey\n"
        f"with PlanCache(Path({str(cache.folder)!r})).locked(PlanKey(*{tuple(vars(KEY).values())!r})):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    got = threading.Event()

    def wait() -> None:
        with cache.locked(KEY):
            got.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not got.wait(0.5)
    holder.kill()
    holder.wait()
    waiting.join(10)
    assert got.is_set()
