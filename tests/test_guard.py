"""The guard: nothing of a command is left behind, and its exit code comes through."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

MARK = "AIRTUNE_TEST_GUARD"


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[str]:
    """A value in the environment of every process of a test; whatever carries it afterwards is killed."""
    value = str(tmp_path)
    yield value
    for process in marked(value):
        process.kill()


def marked(value: str) -> list[psutil.Process]:
    """Running processes of this test."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def guard(
    mark: str, code: str, *options: str, stdout: int = subprocess.PIPE, before: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    """Start the guard over a Python program."""
    program = [sys.executable, "-u", "-c", textwrap.dedent(code)]
    return subprocess.Popen(
        [*before, sys.executable, "-m", "airtune.guard", *options, "--", *program],
        env={**os.environ, MARK: mark},
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def read_until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return
    raise AssertionError(f"{word!r} never came")


def wait_for(what: Callable[[], object], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


LAUNCHER = """
    # as accelerate launch does it: a launcher that knows nothing of signals, and the real work in its child
    import subprocess, sys
    work = '''
    import signal, sys, time
    def save(*_):
        time.sleep(0.3)
        print("saved", flush=True)
        sys.exit(75)
    signal.signal(signal.SIGTERM, save)
    print("working", flush=True)
    time.sleep(60)
    '''
    import textwrap
    sys.exit(subprocess.call([sys.executable, "-c", textwrap.dedent(work)]))
"""


@pytest.mark.parametrize(("code", "exit_code"), [("pass", 0), ("raise SystemExit(64)", 64)])
def test_the_exit_code_of_the_command_comes_through(mark: str, code: str, exit_code: int) -> None:
    assert guard(mark, code).wait(20) == exit_code


def test_an_end_by_a_signal_is_told_as_shells_tell_it(mark: str) -> None:
    assert guard(mark, "import os; os.kill(os.getpid(), 9)").wait(20) == 137


def test_a_command_that_does_not_exist_ends_with_127_and_its_name(mark: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "airtune.guard", "--", "no-such-program"], capture_output=True, text=True, timeout=20
    )
    assert result.returncode == 127
    assert "no-such-program" in result.stdout


def test_all_output_of_both_streams_arrives(mark: str) -> None:
    process = guard(mark, "import sys; print('x' * 300_000); print('err', file=sys.stderr)")
    output, _ = process.communicate(timeout=20)
    assert output.count("x") == 300_000
    assert "err" in output


def test_a_stop_reaches_the_worker_below_a_launcher_that_dies_of_it_and_its_75_is_what_counts(mark: str) -> None:
    process = guard(mark, LAUNCHER, "--grace", "20")
    read_until(process, "working")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert "saved" in output
    assert process.returncode == 75
    assert marked(mark) == []


def test_a_command_that_passes_the_stop_on_is_told_alone_and_only_once(mark: str) -> None:
    code = """
        import signal, subprocess, sys
        helper = "import signal, time; signal.signal(15, lambda *_: print('helper told')); print('up'); time.sleep(2)"
        child = subprocess.Popen([sys.executable, "-u", "-c", helper])
        signal.signal(15, lambda *_: print("told"))
        child.wait()
        sys.exit(75)
    """
    process = guard(mark, code, "--grace", "20")
    read_until(process, "up")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert output.count("told\n") == 1
    assert "helper told" not in output
    assert process.returncode == 75


def test_a_command_that_ignores_the_stop_is_killed_after_its_grace(mark: str) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(60)"
    process = guard(mark, code, "--grace", "1")
    read_until(process, "up")
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 137
    assert time.monotonic() - begun < 10
    assert marked(mark) == []


def test_a_guard_below_another_gives_the_same_grace(mark: str) -> None:
    code = "import os; print('grace', os.environ['AIRTUNE_GRACE_SECONDS'])"
    inner = f"""
        import subprocess, sys
        subprocess.call([sys.executable, "-m", "airtune.guard", "--", sys.executable, "-c", {code!r}])
    """
    output, _ = guard(mark, inner, "--grace", "7").communicate(timeout=20)
    assert "grace 7" in output


def test_processes_that_the_command_leaves_behind_are_ended(mark: str) -> None:
    code = """
        import subprocess
        subprocess.Popen(["sleep", "60"], start_new_session=True)   # even in a session of their own
    """
    assert guard(mark, code).wait(20) == 0
    assert marked(mark) == []


def test_kill_minus_9_of_the_parent_stops_the_work_and_lets_it_save(mark: str, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    worker = LAUNCHER.replace('print("saved", flush=True)', f'open({str(saved)!r}, "w").close()')
    program = textwrap.dedent(worker)
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "import os, subprocess, sys\n"
                "subprocess.Popen([sys.executable, '-m', 'airtune.guard', '--grace', '20', '--with-parent',"
                " str(os.getpid()), '--', sys.executable, '-c', sys.argv[1]]).wait()"
            ),
            program,
        ],
        env={**os.environ, MARK: mark},
        stdout=subprocess.PIPE,
        text=True,
    )
    read_until(parent, "working")
    parent.kill()
    parent.wait(10)
    wait_for(saved.exists)
    wait_for(lambda: not marked(mark))


def test_kill_minus_9_of_the_guard_takes_the_command_with_it(mark: str) -> None:
    process = guard(mark, "import time; print('up'); time.sleep(60)")
    read_until(process, "up")
    process.kill()
    wait_for(lambda: not marked(mark))


def test_a_reader_that_goes_away_does_not_break_the_work(mark: str, tmp_path: Path) -> None:
    done = tmp_path / "done"
    code = f"""
        import time
        print("up")
        for _ in range(20):
            time.sleep(0.02)
            print("y" * 100_000)
        open({str(done)!r}, "w").close()
    """
    process = guard(mark, code)
    read_until(process, "up")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(20) == 0
    assert done.exists()


def test_a_reader_that_stands_still_cannot_hold_up_the_kill(mark: str) -> None:
    code = """
        import signal
        signal.signal(15, signal.SIG_IGN)
        while True:
            print("z" * 65536)
    """
    process = guard(mark, code, "--grace", "1")
    assert process.stdout is not None
    process.stdout.read(10)
    time.sleep(0.3)  # the pipe is full now
    process.send_signal(signal.SIGTERM)
    wait_for(lambda: not [p for p in marked(mark) if p.pid != process.pid])
    process.stdout.close()
    assert process.wait(20) == 137
