"""Quality gives way before time, comes back when there is room, and does not swing."""

from __future__ import annotations

from streamsr.live.quality_ladder import DOWN_S, UP_S, Ladder

INTERVAL_S = 0.04


class Machine:
    """Frames of a stream whose steps cost what `costs` says, at most at the rate of the source."""

    def __init__(self, *costs: float) -> None:
        self.costs = list(costs)
        self.ladder = Ladder([f"step {n}" for n in range(len(costs))], 0.5)
        self.now = 0.0
        self.late_s = 0.0
        self.steps: list[int] = []

    def run(self, seconds: float) -> int:
        end = self.now + seconds
        while self.now < end:
            work_s = self.costs[self.ladder.step]
            dropped = 0
            self.late_s = max(0.0, self.late_s + work_s - INTERVAL_S)
            if self.late_s > 0.5:
                dropped, self.late_s = round(self.late_s / INTERVAL_S), 0.0
            self.now += max(work_s, INTERVAL_S)
            self.steps.append(self.ladder.observe(self.now, interval_s=INTERVAL_S, work_s=work_s, late_s=self.late_s, dropped=dropped))
        return self.ladder.step


def test_a_machine_that_keeps_up_changes_nothing() -> None:
    assert Machine(0.03, 0.001).run(600) == 0


def test_a_short_strain_changes_nothing() -> None:
    machine = Machine(0.03, 0.001)
    machine.run(20)
    machine.costs[0] = 0.08
    machine.run(DOWN_S / 3)
    machine.costs[0] = 0.03
    machine.run(30)
    assert set(machine.steps) == {0}


def test_a_machine_that_is_too_slow_goes_down_step_by_step() -> None:
    machine = Machine(0.2, 0.08, 0.001)
    assert machine.run(5 * DOWN_S) == 2
    assert [step for n, step in enumerate(machine.steps) if n == 0 or machine.steps[n - 1] != step] == [0, 1, 2]


def test_there_is_no_step_below_the_last() -> None:
    assert Machine(0.2).run(60) == 0


def test_quality_returns_when_there_is_room() -> None:
    machine = Machine(0.08, 0.001)
    assert machine.run(3 * DOWN_S) == 1
    machine.costs[0] = 0.02
    assert machine.run(4 * UP_S) == 0
    assert machine.run(60) == 0


def test_attempts_on_a_machine_on_the_edge_become_rare() -> None:
    machine = Machine(0.08, 0.001)
    machine.run(3600)
    assert machine.ladder.num_changes < 40
    assert sum(step == 0 for step in machine.steps) < 0.05 * len(machine.steps)


def test_a_step_that_cannot_run_is_tried_ever_more_rarely() -> None:
    """As where a GPU has no room for it: it fails with its first frame."""
    ladder, tries, now = Ladder(["best", "least"], 0.5), 0, 0.0
    for _ in range(90_000):  # an hour at 25 frames a second
        now += INTERVAL_S
        if ladder.step == 0:
            tries += 1
            ladder.follow(1, now)
        ladder.observe(now, interval_s=INTERVAL_S, work_s=0.001, late_s=0.0, dropped=0)
    assert ladder.step == 1
    assert 10 < tries < 20
