"""A place for one measured service: a folder, free ports, a configuration, and what the process costs."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = ROOT / "target/release/overread"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def onnxruntime():
    named = os.environ.get("OVERREAD__RUNTIME__ONNXRUNTIME") or os.environ.get("ORT_DYLIB_PATH")
    found = [named] if named else sorted(map(str, (ROOT / "runtime").glob("libonnxruntime.so*")))
    if not found:
        raise SystemExit("ONNX Runtime is missing: run `make runtime`")
    return found[-1]


class Site:
    """One `overread serve` in a temporary folder; ends with the `with` block."""

    def __init__(self, settings="", roles=("scp", "api", "pipeline", "worker"), models=True, models_dir=ROOT / "models",
                 allow=("mr-brain-seg",)):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="overread-bench-"))
        self.http_port, self.dicom_port = free_port(), free_port()
        allow = json.dumps(list(allow) if models else [])
        (self.folder / "overread.toml").write_text(
            f"roles = {json.dumps(list(roles))}\n"
            f'[http]\nlisten = "127.0.0.1:{self.http_port}"\n'
            f'[dicom]\nlisten = "127.0.0.1:{self.dicom_port}"\n'
            f'[models]\ndir = "{models_dir}"\nallow_demonstration = {allow}\n'
            f'[runtime]\nonnxruntime = "{onnxruntime()}"\n{settings}'
        )
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        """Seconds from the start of the process to the first connection on both ports."""
        log = open(self.folder / "log", "ab")
        begin = time.perf_counter()
        self.process = subprocess.Popen([BINARY, "serve"], cwd=self.folder, stdout=log, stderr=log)
        for port in (self.dicom_port, self.http_port):
            while not answers(port):
                if self.process.poll() is not None:
                    raise SystemExit("the service ended:\n" + (self.folder / "log").read_text())
                time.sleep(0.002)
        return time.perf_counter() - begin

    def wait_ready(self, limit=60):
        begin = time.perf_counter()
        while time.perf_counter() - begin < limit:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/ready", timeout=5).read()
                return time.perf_counter() - begin
            except (urllib.error.URLError, OSError):
                time.sleep(0.01)
        raise SystemExit("the service did not become ready:\n" + (self.folder / "log").read_text())

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=60)

    def memory_mb(self):
        """Resident memory now, and its highest so far."""
        return resident_mb(self.process.pid)


def resident_mb(pid):
    fields = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    return tuple(int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
