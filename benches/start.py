#!/usr/bin/env python3
"""How long a warm start takes until both ports answer, and what the service holds when idle with its models loaded."""

import statistics
import time

from site_under_test import Site

ROUNDS = 7


def main():
    listening, ready, idle = [], [], []
    with Site() as site:
        site.wait_ready()
        site.stop()
        for _ in range(ROUNDS):
            listening.append(site.start())
            ready.append(listening[-1] + site.wait_ready())
            time.sleep(1)
            idle.append(site.memory_mb()[0])
            site.stop()
    print("start (warm, SQLite, all roles, shipped models loaded)")
    for name, values, unit in (
        ("started to listening", listening, "s"),
        ("started to ready", ready, "s"),
        ("idle memory", idle, "MB"),
    ):
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"  {name:22} median {middle:8.2f} {unit}   (min {low:.2f}, max {high:.2f}, {ROUNDS} rounds)")


if __name__ == "__main__":
    main()
