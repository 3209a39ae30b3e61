"""Runs one command and prints what it cost as JSON: wall seconds, CPU seconds, peak MB.

A program of its own because the kernel counts what a parent holds at the moment of starting a child as the
child's peak: the parent has to be small.
"""

import json
import os
import subprocess
import sys
import time


def main(command):
    begin = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    print(json.dumps({"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}))
    return child.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
