"""Puts this process's wall clock wrong, and that of the processes it forks; monotonic ones stay.

Found by Python at its start when this folder is on PYTHONPATH. Debian's libfaketime 0.9.10 cannot
do this: with the monotonic clocks unfaked, Python's time.sleep fails.
"""

import os
import time

import time_machine

_seconds = float(os.environ["DRILL_WALL_CLOCK_IS_OFF_BY"])
time_machine.travel(time.time() + _seconds, tick=True).start()
