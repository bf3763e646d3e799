"""The queue: order, progress, cancelling, errors, and jobs of closed pages."""

import threading
import time

import pytest

from detdiffusion.studio.jobs import JobQueue, UnknownJob
from detdiffusion.utils.errors import UserError


class Steps:
    """Work that takes a step whenever it is told to, and returns the request."""

    def __init__(self):
        self.go = threading.Semaphore(0)
        self.ran = []

    def __call__(self, request, on_step):
        self.ran.append(request)
        for done in (1, 2):
            assert self.go.acquire(timeout=10)
            on_step(done, 2)
        if isinstance(request, Exception):
            raise request
        return request


@pytest.fixture
def steps():
    return Steps()


@pytest.fixture
def queue(steps):
    queue = JobQueue(steps, most_waiting=2, most_kept=2)
    yield queue
    steps.go.release(100)
    queue.close()


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def submit_three(queue):
    first = queue.submit("a")
    until(lambda: first.state == "running")
    return first, queue.submit("b"), queue.submit("c")


def test_one_after_the_other_with_position_and_progress(queue, steps):
    first, second, third = submit_three(queue)
    assert [queue.position(job) for job in (first, second, third)] == [0, 1, 2]
    steps.go.release()
    until(lambda: first.step == 1)
    assert (first.step, first.steps, second.state) == (1, 2, "queued")
    with pytest.raises(UserError, match="2 requests are waiting already"):
        queue.submit("d")
    steps.go.release(5)
    until(lambda: third.finished)
    assert [job.result for job in (first, second, third)] == ["a", "b", "c"]
    assert steps.ran == ["a", "b", "c"]


def test_a_waiting_and_a_running_job_are_cancelled(queue, steps):
    first, second, third = submit_three(queue)
    queue.cancel(second.key)
    queue.cancel(first.key)
    steps.go.release(3)  # one for the step that ends the first
    until(lambda: third.state == "done")
    assert (first.state, first.result, second.state) == ("cancelled", None, "cancelled")
    assert steps.ran == ["a", "c"]
    queue.cancel(third.key)
    assert third.state == "done"  # it was too late


def test_errors_are_words_and_the_worker_goes_on(queue, steps, capfd):
    known, bug = queue.submit(UserError("no room for `boxes`")), queue.submit(KeyError("x"))
    steps.go.release(4)
    until(lambda: bug.finished)
    assert (known.state, known.error) == ("failed", "no room for `boxes`")
    assert bug.error == "internal error: KeyError: 'x' (the terminal shows where)"
    assert "Traceback" in capfd.readouterr().err
    last = queue.submit("a")
    steps.go.release(2)
    until(lambda: last.state == "done")


def test_old_results_are_forgotten(queue, steps):
    steps.go.release(20)
    jobs = []
    for text in "abcd":
        jobs.append(queue.submit(text))
        until(lambda: jobs[-1].finished)
    queue.submit("e")
    with pytest.raises(UnknownJob, match="generate them again"):
        queue.get(jobs[0].key)
    assert queue.get(jobs[3].key).result == "d"
    assert len({job.key for job in jobs}) == 4 and min(len(job.key) for job in jobs) >= 20


def test_jobs_that_nobody_asks_for_are_dropped(steps):
    queue = JobQueue(steps, patience=0.05)
    first, second = queue.submit("a"), queue.submit("b")
    until(lambda: first.state == "running")
    time.sleep(0.1)
    steps.go.release()
    until(lambda: second.finished)
    assert (first.state, second.state, steps.ran) == ("cancelled", "cancelled", ["a"])
    queue.close()
