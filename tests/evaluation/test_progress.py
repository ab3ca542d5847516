from __future__ import annotations

from airtune.evaluation.progress import Progress, duration


def test_a_line_comes_every_two_seconds_at_most_with_the_time_left() -> None:
    now, lines = [100.0], list[str]()
    progress = Progress(1000, clock=lambda: now[0], say=lines.append)
    for seconds, answers in ((0.5, 50), (2.5, 200), (3.0, 50), (10.0, 200), (20.0, 500)):
        now[0] = 100.0 + seconds
        progress.add(answers, "tuned, greedy")
    assert lines == [
        "evaluate: 250 of 1,000 answers (tuned, greedy), 2 s, about 8 s left",
        "evaluate: 500 of 1,000 answers (tuned, greedy), 10 s, about 10 s left",
        "evaluate: 1,000 of 1,000 answers (tuned, greedy), 20 s, done",
    ]


def test_times_are_written_for_people() -> None:
    assert [duration(seconds) for seconds in (0.4, 59, 61, 3661)] == ["0 s", "59 s", "1 min 1 s", "1 h 1 min"]
