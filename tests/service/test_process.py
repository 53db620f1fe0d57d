"""What worker processes share with each other."""

import multiprocessing
import threading
import time

from worker import process


def look_all_the_time() -> None:
    while not process.is_leaving():
        pass


def test_a_process_that_is_killed_while_it_looks_does_not_hold_up_the_others() -> None:
    for _ in range(20):
        looker = multiprocessing.get_context("fork").Process(target=look_all_the_time)
        looker.start()
        time.sleep(0.02)
        looker.kill()
        looker.join()

    another = threading.Thread(target=process.is_leaving, daemon=True)
    another.start()
    another.join(timeout=10)
    assert not another.is_alive()
