"""Runs of timestamps become parts of one clock, alike for picture and sound."""

import pytest

from engine.media.clock import WRAP_S, Elapsed, JoinedClock, Run, join_runs


def join(video: list[Run], *tracks: list[Run]) -> JoinedClock:
    return join_runs(video, tracks)


def test_one_run_is_not_moved() -> None:
    joined = join([Run(1.48, 9.0, 3)], [Run(1.46, 9.1, 0)], [])
    assert joined == JoinedClock((0.0,), ((0.0,), ()), ())


def test_a_restart_moves_picture_and_sound_alike() -> None:
    joined = join([Run(1.48, 7.36, 3), Run(1.48, 7.36, 424)], [Run(1.46, 7.41, 0), Run(1.46, 7.41, 430)])
    (seam,) = joined.seams
    assert joined.video_s == pytest.approx((0.0, 5.95))
    assert joined.audio_s[0] == joined.video_s
    assert (seam.at_s, seam.before_s, seam.after_s) == pytest.approx((7.41, 7.36, 1.46))


def test_three_parts_of_different_lengths_follow_each_other() -> None:
    video = [Run(0.0, 5.0, 0), Run(0.0, 9.0, 100), Run(2.0, 4.0, 300)]
    audio = [Run(0.0, 5.0, 1), Run(0.1, 8.9, 108), Run(2.0, 4.1, 290)]
    joined = join(video, audio)
    assert joined.video_s == pytest.approx((0.0, 5.0, 12.0))
    assert joined.audio_s[0] == pytest.approx((0.0, 5.0, 12.0))
    assert [seam.at_s for seam in joined.seams] == pytest.approx([5.0, 14.0])


def test_a_jump_forward_of_both_is_joined() -> None:
    joined = join([Run(0.0, 6.0, 0), Run(57.0, 63.0, 200)], [Run(0.0, 6.0, 1), Run(57.0, 63.0, 205)])
    assert joined.video_s == pytest.approx((0.0, -51.0)) and joined.audio_s[0] == joined.video_s
    assert joined.seams[0].at_s == 6.0


def test_a_jump_forward_and_back_is_joined_twice() -> None:
    times = [(0.0, 1.5, 0), (52.4, 53.6, 100), (1.0, 3.5, 200)]
    joined = join([Run(*run) for run in times], [Run(start, end, at + 1) for start, end, at in times])
    assert joined.video_s == pytest.approx((0.0, -50.9, 1.7)) and joined.audio_s[0] == joined.video_s


def test_a_jump_after_a_restart_is_joined() -> None:
    times = [(0.5, 3.3, 0), (1.0, 2.0, 100), (4003.8, 4005.0, 200)]  # the first part reaches into the gap by its times
    joined = join([Run(*run) for run in times], [Run(start, end, at + 1) for start, end, at in times])
    assert joined.video_s == pytest.approx((0.0, 2.3, -3999.5)) and joined.audio_s[0] == joined.video_s


def test_a_held_picture_over_running_sound_is_no_jump() -> None:
    joined = join([Run(0.0, 6.0, 0), Run(20.0, 30.0, 200)], [Run(0.0, 30.0, 1)])
    assert joined == JoinedClock((0.0, 0.0), ((0.0,),), ())


def test_a_gap_of_the_sound_alone_is_no_jump() -> None:
    joined = join([Run(0.0, 30.0, 0)], [Run(0.0, 6.0, 1), Run(20.0, 30.0, 200)])
    assert joined == JoinedClock((0.0,), ((0.0, 0.0),), ())


def test_without_sound_a_gap_stays_and_a_restart_is_joined() -> None:
    assert join([Run(0.0, 6.0, 0), Run(57.0, 63.0, 200)]).seams == ()
    assert join([Run(0.0, 6.0, 0), Run(0.0, 6.0, 200)]).video_s == (0.0, 6.0)


def test_sound_that_begins_in_the_second_part_belongs_to_it() -> None:
    joined = join([Run(0.0, 6.0, 0), Run(0.0, 6.0, 200)], [Run(0.5, 6.0, 210)])
    assert joined.audio_s == ((6.0,),)


def test_sound_that_ends_in_the_first_part_stays_there() -> None:
    joined = join([Run(0.0, 6.0, 0), Run(0.0, 6.0, 200)], [Run(0.0, 5.5, 1)])
    assert joined.audio_s == ((0.0,),) and joined.video_s == (0.0, 6.0)


def test_sound_that_runs_on_through_a_restart_of_the_pictures_is_not_moved() -> None:
    joined = join([Run(0.0, 6.0, 0), Run(0.0, 6.0, 200)], [Run(0.0, 12.0, 1)])
    assert joined.audio_s == ((0.0,),) and joined.video_s == (0.0, 6.0)


def test_a_restart_of_the_sound_alone_goes_on_where_it_ended() -> None:
    joined = join([Run(0.0, 12.0, 0)], [Run(0.0, 6.0, 1), Run(0.0, 6.0, 200)])
    assert joined.audio_s == ((0.0, 6.0),) and joined.seams == ()


def test_a_first_frame_of_sound_before_time_zero_has_wrapped() -> None:
    joined = join_runs(
        [Run(0.0, 50.0, 5)], [[Run(WRAP_S - 0.0213, WRAP_S, 1), Run(0.0, 50.0, 2)], [Run(0.02, 50.0, 3)]], WRAP_S
    )
    assert joined.video_s == (0.0,) and joined.seams == ()
    assert joined.audio_s == (pytest.approx((-WRAP_S, 0.0)), (0.0,))


def test_a_clock_that_wraps_goes_on() -> None:
    video, audio = [Run(WRAP_S - 4, WRAP_S, 0), Run(0.0, 4.0, 50)], [Run(WRAP_S - 4, WRAP_S, 1), Run(0.0, 4.0, 51)]
    joined = join_runs(video, [audio], WRAP_S)
    assert joined.video_s == pytest.approx((0.0, WRAP_S)) and joined.audio_s[0] == joined.video_s
    assert joined.seams == ()


def test_elapsed_time_leaves_steps_out() -> None:
    elapsed = Elapsed()
    assert [elapsed.add(time, 0.5) for time in (10.0, 10.5, 1.0, 1.5, 90.0)] == [10.0, 10.5, 11.0, 11.5, 12.0]
    assert elapsed.now_s == 12.0


def test_each_track_is_moved_with_its_part() -> None:
    video = [Run(0.0, 6.0, 0), Run(100.0, 106.0, 200)]
    joined = join(video, [Run(0.0, 6.0, 1), Run(100.0, 106.0, 203)], [Run(0.0, 6.0, 2), Run(100.2, 106.0, 204)])
    assert joined.audio_s == ((0.0, -94.0), (0.0, -94.0))
