#!/usr/bin/env python3
"""Predictions over HTTP: ours beside Flask + scikit-learn and FastAPI + ONNX Runtime, the same forest in each.

Ours authenticates against its database, counts against its limits and has the call's row of the audit trail on the disk,
in the journal of calls, before it answers; `unflushed` is the same with `durability = "process"`. `ceiling` is an axum
route that reads the same JSON and answers a fixed text: what HTTP alone costs, without authentication, audit or a disk.
The bar against it is held with everything of ours switched on; nothing of it can be switched off, so that `unflushed`
beside the ceiling is printed as the nearest to "without audit". What the disk alone takes is printed too: the time of one
page of 4 KiB, written durably into blocks that are there, again and again while the ceiling is under the same load. All
connections wait for a page that takes long: with eight of them, what happens to one page in a thousand happens to one
answer in a hundred. Before any load, the answers of ours, flask and fastapi
are compared with scikit-learn's, bit for bit.
"""

import argparse
import json
import mmap
import os
import pathlib
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "models/scripts"), str(HERE / "predict")]
import joblib  # noqa: E402
import numpy as np  # noqa: E402
import train_meso  # noqa: E402
from known import BASE  # noqa: E402
from site_under_test import BINARY, ROOT, Site, answers, free_port  # noqa: E402

LIMITS = "[limits]\n" + "".join(
    f"{name}_per_minute = 4000000000\n" for name in ("requests", "predicts", "schemas", "reloads")
)
# Of the answers per second: at least so many times the other's. Of the p99: at most.
BARS = [
    ("1 row, 8 connections", (1, 8), "fastapi", "rate", 2.0),
    ("1 row, 8 connections", (1, 8), "ceiling", "rate", 0.5),
    ("1 row, 8 connections", (1, 8), "flask", "rate", 50.0),
    ("1 row, 8 connections", (1, 8), "fastapi", "p99", 1.0),
    ("100 rows, 8 connections", (100, 8), "fastapi", "rate", 3.0),
]


class Peer:
    """One service that is measured."""

    def __init__(self, command, key, environment=None):
        self.port, self.key = free_port(), key
        command = [str(word).replace("PORT", str(self.port)) for word in command]
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command, cwd=HERE / "predict", stdout=self.log, stderr=self.log,
            env={**os.environ, "BENCH_KEY": key, "OMP_NUM_THREADS": "1", **(environment or {})},
        )

    def wait(self):
        until = time.monotonic() + 60
        while not answers(self.port):
            if self.process.poll() is not None or time.monotonic() > until:
                self.log.seek(0)
                raise SystemExit("a peer did not start:\n" + self.log.read().decode(errors="replace"))
            time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)


class Ours:
    """The service itself, with one model and as it is by default but for its limits."""

    def __init__(self, models, durability="power"):
        self.site = Site(LIMITS, models_dir=models, allow=["meso"])
        os.environ["OVERREAD__DICOM__DURABILITY"] = durability
        self.site.start()
        self.site.wait_ready()
        made = subprocess.run(
            [BINARY, "key", "create", "--name", "bench", "--role", "service"],
            cwd=self.site.folder, check=True, capture_output=True, text=True, timeout=60,
        )
        self.port, self.key = self.site.http_port, made.stdout.split()[-1]

    def wait(self):
        pass

    def stop(self):
        self.site.stop()
        shutil.rmtree(self.site.folder, ignore_errors=True)


def ask(peer, rows):
    body = json.dumps({"data": rows}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {peer.key}"}
    request = urllib.request.Request(f"http://127.0.0.1:{peer.port}/predict", body, headers)
    return json.load(urllib.request.urlopen(request, timeout=60))


def load(peer, body, connections, seconds):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", HERE / "predict/post.lua",
               f"http://127.0.0.1:{peer.port}/predict"]
    environment = {**os.environ, "BENCH_BODY": str(body), "BENCH_KEY": peer.key}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=seconds + 60)
    got = json.loads(done.stdout.strip().splitlines()[-1])
    if got["bad"]:
        raise SystemExit(f"{got['bad']} answers were none: {done.stdout}")
    return {"rate": got["requests"] / got["seconds"], "p50": got["p50_ms"], "p99": got["p99_ms"]}


class Disk(threading.Thread):
    """Writes pages as the journal of calls does, one after another, until it is stopped."""

    PAGE, PAGES = 4096, 4096

    def __init__(self, path):
        super().__init__()
        self.times, self.stopped = [], threading.Event()
        path.write_bytes(bytes(self.PAGE * self.PAGES))
        written = os.open(path, os.O_RDONLY)
        os.fsync(written)
        os.close(written)
        self.file, self.page = os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_DSYNC), mmap.mmap(-1, self.PAGE)

    def run(self):
        while not self.stopped.is_set():
            begin = time.perf_counter()
            os.pwrite(self.file, self.page, len(self.times) % self.PAGES * self.PAGE)
            self.times.append(time.perf_counter() - begin)

    def stop(self):
        self.stopped.set()
        self.join()
        os.close(self.file)
        cuts = statistics.quantiles(self.times, n=1000)
        return {"p50": cuts[499] * 1000, "p99": cuts[989] * 1000, "p99.9": cuts[998] * 1000}


def named(table):
    return [{name: value for name, value in zip(BASE, row.tolist()) if value == value} for row in table]


def compare(peers, pipeline):
    """All three answer scikit-learn's own numbers, also where values are missing."""
    table = train_meso.with_gaps(train_meso.rows(200, 7)[0], 8, 0.1)
    expected = pipeline.predict_proba(table)[:, 1]
    for name in ("ours", "flask", "fastapi"):
        found = np.array(ask(peers[name], named(table))["pred_proba"])
        if not np.array_equal(found, expected):
            raise SystemExit(f"{name} answers other numbers: {np.abs(found - expected).max()} apart")
    print(f"answers: {len(table)} rows with gaps are scikit-learn's, bit for bit, in ours, flask and fastapi")


def measure(peers, folder, args):
    cells = {}
    for rows in (1, 100):
        body = folder / f"{rows}.json"
        body.write_text(json.dumps({"data": named(train_meso.rows(rows, 9)[0])}))
        for connections in (1, 8):
            for peer in peers.values():
                load(peer, body, connections, 1)
            for turn in range(args.rounds):
                order = list(peers)[turn % len(peers):] + list(peers)[:turn % len(peers)]
                for name in order:
                    cell = cells.setdefault((rows, connections), {}).setdefault(name, [])
                    cell.append(load(peers[name], body, connections, args.seconds))
    return cells


def measure_disk(ceiling, folder, args):
    """Beside a load of one row over eight connections, in each round."""
    rounds = []
    for _ in range(args.rounds):
        disk = Disk(folder / "pages")
        disk.start()
        load(ceiling, folder / "1.json", 8, args.seconds)
        rounds.append(disk.stop())
    return rounds


def report(cells, disk):
    print(f"{'':26}" + "".join(f"{name:>24}" for name in next(iter(cells.values()))))
    for (rows, connections), cell in cells.items():
        line = f"{rows:4} rows, {connections} connections    "
        for runs in cell.values():
            rate, p50, p99 = (statistics.median(run[what] for run in runs) for what in ("rate", "p50", "p99"))
            line += f"{rate:9.0f}/s {p50:5.1f} {p99:5.1f} ms"
        print(line)
    met = True
    for words, load_of, other, what, bar in BARS:
        ours, theirs = cells[load_of]["ours"], cells[load_of][other]
        ratio = statistics.median(our[what] / their[what] for our, their in zip(ours, theirs))
        good = ratio >= bar if what == "rate" else ratio <= bar
        met &= good
        sign = "≥" if what == "rate" else "≤"
        print(f"  {words}, {what} of {other}: {ratio:7.2f} ×  (bar {sign} {bar}) {'met' if good else 'NOT MET'}")
    ratios = [ours["rate"] / echo["rate"] for ours, echo in zip(cells[1, 8]["unflushed"], cells[1, 8]["ceiling"])]
    print(f"  1 row, 8 connections, unflushed, rate of ceiling: {statistics.median(ratios):7.2f} ×  (no bar)")
    taken = ", ".join(f"{what} {statistics.median(one[what] for one in disk):.1f} ms" for what in disk[0])
    print(f"  a durable page beside the ceiling's load: {taken}")
    return met


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=4, help="of load for one figure")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a bar is not met")
    args = parser.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is missing: apt-get install wrk")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="overread-predict-"))
    pipeline, key, python = train_meso.trained(), secrets.token_hex(16), sys.executable
    joblib.dump(pipeline, folder / "pipeline.joblib")
    environment = {"PYTHONPATH": f"{ROOT / 'models/scripts'}", "BENCH_PIPELINE": str(folder / "pipeline.joblib"),
                   "BENCH_MODEL": str(ROOT / "models/meso/model.onnx")}
    peers = {}
    try:
        models = folder / "models"
        models.mkdir()
        (models / "meso").symlink_to(ROOT / "models/meso")
        peers["ours"] = Ours(models)
        peers["unflushed"] = Ours(models, "process")
        peers["ceiling"] = Peer([ROOT / "target/release/examples/echo", "PORT"], key)
        peers["fastapi"] = Peer([python, "-m", "uvicorn", "--workers", "2", "--host", "127.0.0.1", "--port", "PORT",
                                 "--no-access-log", "fastapi_service:app"], key, environment)
        peers["flask"] = Peer([python, "-m", "gunicorn", "-w", "2", "-b", "127.0.0.1:PORT", "--keep-alive", "30",
                               "flask_service:app"], key, environment)
        for peer in peers.values():
            peer.wait()
        time.sleep(3)  # Workers load the model after the port is open.
        compare(peers, pipeline)
        cells = measure(peers, folder, args)
        met = report(cells, measure_disk(peers["ceiling"], folder, args))
    finally:
        for peer in peers.values():
            peer.stop()
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0 if met or not args.strict else 1)


if __name__ == "__main__":
    main()
