"""Learning-rate schedules and step plans: shapes, joints, and time budgets that change no factor already taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openankh.errors import UserError
from openankh.pretraining.schedule import DECAY_NAMES, SCHEDULE_NAMES, Schedule, StepPlan

schedules = st.builds(
    Schedule,
    name=st.sampled_from(SCHEDULE_NAMES),
    decay_share=st.floats(0.01, 1.0),
    decay=st.sampled_from(DECAY_NAMES),
    final_factor=st.floats(0.0, 1.0),
)


@given(schedules, st.floats(0.0, 1.0), st.floats(0.0, 0.9))
def test_every_factor_lies_between_zero_and_one(schedule: Schedule, progress: float, warmup_share: float):
    assert 0.0 <= schedule.factor(progress, warmup_share) <= 1.0


@given(schedules, st.integers(1, 300), st.integers(0, 100))
def test_a_plan_rises_through_the_warm_up_then_never_rises_again(schedule: Schedule, total: int, warmup: int):
    plan = StepPlan(schedule, min(warmup, total), total)
    factors = [plan.factor(step) for step in range(total)]
    rising, falling = factors[: plan.warmup_steps], factors[plan.warmup_steps :]
    assert all(factor > 0 for factor in rising)
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)


def test_linear_ends_at_the_final_factor():
    schedule = Schedule("linear", final_factor=0.1)
    assert schedule.factor(0.1, 0.1) == 1.0
    assert schedule.factor(0.55, 0.1) == pytest.approx(0.55)
    assert schedule.factor(1.0, 0.1) == pytest.approx(0.1)


def test_cosine_is_half_way_at_the_middle_of_its_fall():
    assert Schedule("cosine").factor(0.6, 0.2) == pytest.approx(0.5)
    assert Schedule("cosine").factor(1.0, 0.2) == pytest.approx(0.0)


@pytest.mark.parametrize(("decay", "half_way"), [("linear", 0.5), ("sqrt", 1 - 0.5**0.5)])
def test_wsd_is_flat_until_its_decay(decay, half_way):
    schedule = Schedule("wsd", decay_share=0.2, decay=decay)
    assert {schedule.factor(progress, 0.05) for progress in (0.05, 0.3, 0.8)} == {1.0}
    assert schedule.factor(0.9, 0.05) == pytest.approx(half_way)
    assert schedule.factor(1.0, 0.05) == pytest.approx(0.0)


def test_inverse_sqrt_follows_the_number_of_warm_ups_done():
    schedule = Schedule("inverse-sqrt")
    assert schedule.factor(0.4, 0.1) == pytest.approx(0.5)
    assert schedule.factor(0.9, 0.1) == pytest.approx(1 / 3)


def test_an_open_plan_takes_the_factors_of_the_plan_it_becomes():
    opened = StepPlan(Schedule("wsd", decay_share=0.3), warmup_steps=10, total_steps=None)
    closed = opened.settled(num_steps_done=40, seconds_left=100.0, seconds_a_step=0.5)
    assert closed.total_steps == 240
    assert [opened.factor(s) for s in range(40)] == pytest.approx([closed.factor(s) for s in range(40)])
    assert not opened.is_finished(10**9)
    assert not closed.is_finished(239)
    assert closed.is_finished(240)


@given(st.integers(0, 20), st.integers(1, 500), st.floats(0.01, 1.0), st.floats(0.0, 2000.0), st.floats(0.01, 10.0))
def test_settling_again_before_the_fall_changes_no_factor_taken(warmup, done, share, seconds_left, seconds_a_step):
    plan = StepPlan(Schedule("wsd", decay_share=share), warmup, 1000)
    if not plan.may_settle(done):
        return
    again = plan.settled(done, seconds_left, seconds_a_step)
    assert again.total_steps is not None
    assert again.total_steps > done or again.total_steps == warmup + 1
    begin = again.total_steps * again.schedule.decay_begin(warmup / again.total_steps)
    taken = range(min(done, int(begin)))
    assert [plan.factor(s) for s in taken] == pytest.approx([again.factor(s) for s in taken])


def test_a_falling_plan_cannot_be_settled_again():
    assert not StepPlan(Schedule("linear"), 10, 100).may_settle(20)
    assert StepPlan(Schedule("wsd", decay_share=0.2), 10, 100).may_settle(79)
    assert not StepPlan(Schedule("wsd", decay_share=0.2), 10, 100).may_settle(80)
    with pytest.raises(AssertionError, match="already"):
        StepPlan(Schedule("linear"), 10, 100).settled(20, 10.0, 1.0)


def test_a_plan_goes_through_json_unchanged():
    plan = StepPlan(Schedule("wsd", decay_share=0.3, decay="sqrt", final_factor=0.01), 7, 123)
    assert StepPlan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"name": "lineer"}, "choose one of linear, cosine"),
        ({"decay_share": 0.0}, "decay_share is 0.0"),
        ({"decay_share": float("nan")}, "decay_share is nan"),
        ({"final_factor": 1.5}, "final_factor is 1.5"),
        ({"decay": "cubic"}, "choose one of linear, sqrt"),
    ],
)
def test_schedules_that_cannot_work_are_refused(wrong, told):
    with pytest.raises(UserError, match=told):
        Schedule(**wrong)


def test_plans_that_cannot_work_are_refused():
    with pytest.raises(UserError, match="warmup_steps is -1"):
        StepPlan(Schedule(), -1, 10)
    with pytest.raises(UserError, match="total_steps is 0"):
        StepPlan(Schedule(), 0, 0)
