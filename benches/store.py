#!/usr/bin/env python3
"""C-STORE ingest beside DCMTK, Orthanc and dicom-rs: instances a second over the same ready bytes, receivers alternating.

The sender replays streams that were cut into PDUs before the clock starts, with one C-STORE outstanding on each
association and TCP_NODELAY on, so that it is not what is measured (dcmsend stalls by itself). Timed: from the first
association request to the last release. Every receiver starts afresh for each measurement, with an empty folder, and
every instance is counted afterwards; it is left alone first until it has written nothing for half a second, so that what
a receiver does once in its life (ours lays out its journal) is not in every measurement. Nobody is to pay for whoever came
before: files are emptied, and deleted at the end only, and each folder is put into a block group of its own (chattr +T)
where that is possible, because for some minutes ext4 does not use a deleted inode again but passes over it one by one;
and the page cache is emptied first where we may. Orthanc and DCMTK run with TCP_NODELAY=1: without it each answer waits
40 ms.

  process   ours, storescp --fork +B and the storescp of dicom-rs, none flushes
  power     ours (durability = "power") and storescp with file and folder flushed at each close (durable_close.c), and
            Orthanc as it comes (it flushes each file)

Ratios are medians over the rounds of ours/peer within a round; the bars are those that we promise. "undisturbed" is the
tenth percentile of the microseconds from the first byte of an instance to its answer: on a busy machine it still says
what the receiver itself takes.
"""

import argparse
import json
import math
import os
import pathlib
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
MR, EXPLICIT = b"1.2.840.10008.5.1.4.1.1.4", b"1.2.840.10008.1.2.1"
QUIET_SECONDS = 0.5
SIZES = {"132 kB": (256, 256, 1), "525 kB": (512, 512, 1)}
LARGE = {"200 MB": (512, 512, 400)}


def item(kind, content):
    return struct.pack(">BBH", kind, 0, len(content)) + content


def element(number, value):
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", 0, number, len(value)) + value


def explicit(group, number, vr, value):
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def dataset(uid, shape, noise):
    columns, rows, frames = shape
    head = (explicit(8, 0x16, b"UI", MR) + explicit(8, 0x18, b"UI", uid) + explicit(8, 0x60, b"CS", b"MR")
            + explicit(0x10, 0x10, b"PN", b"Bench^Store") + explicit(0x10, 0x20, b"LO", b"BENCH")
            + explicit(0x20, 0xD, b"UI", uid.rsplit(b".", 2)[0]) + explicit(0x20, 0xE, b"UI", uid.rsplit(b".", 1)[0])
            + explicit(0x28, 2, b"US", b"\1\0") + explicit(0x28, 4, b"CS", b"MONOCHROME2")
            + explicit(0x28, 8, b"IS", str(frames).encode()) + explicit(0x28, 0x10, b"US", struct.pack("<H", rows))
            + explicit(0x28, 0x11, b"US", struct.pack("<H", columns)) + explicit(0x28, 0x100, b"US", b"\x10\0")
            + explicit(0x28, 0x101, b"US", b"\x0c\0") + explicit(0x28, 0x102, b"US", b"\x0b\0")
            + explicit(0x28, 0x103, b"US", b"\0\0"))
    size = columns * rows * frames * 2
    pixels = (noise * (size // len(noise) + 1))[:size]
    return head + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, size) + pixels


def store_rq(message, uid):
    body = (element(2, MR) + element(0x100, b"\1\0") + element(0x110, struct.pack("<H", message)) + element(0x700, b"\0\0")
            + element(0x800, b"\1\0") + element(0x1000, uid))
    return element(0, struct.pack("<I", len(body))) + body


def p_data(flags, fragment):
    return struct.pack(">BBIIBB", 4, 0, len(fragment) + 6, len(fragment) + 2, 1, flags) + fragment


def message(number, uid, data, pdu_max):
    out = [p_data(3, store_rq(number % 65535 + 1, uid))]
    room = (min(pdu_max or 1 << 20, 1 << 20) - 6) & ~1
    for at in range(0, len(data), room):
        out.append(p_data(2 if at + room >= len(data) else 0, data[at:at + room]))
    return b"".join(out)


def read_exact(connection, count):
    out = bytearray()
    while len(out) < count:
        piece = connection.recv(count - len(out))
        if not piece:
            raise ConnectionError("the receiver closed the connection")
        out += piece
    return bytes(out)


def read_pdu(connection):
    kind, _, length = struct.unpack(">BBI", read_exact(connection, 6))
    return kind, read_exact(connection, length)


def status_of(answer):
    """Status (0000,0900) of the command set in a P-DATA-TF that holds one."""
    at = 6
    while at < len(answer):
        group, number, length = struct.unpack_from("<HHI", answer, at)
        if (group, number) == (0, 0x900):
            return struct.unpack_from("<H", answer, at + 8)[0]
        at += 8 + length
    raise ValueError("the answer has no status")


def associate(port, called):
    context = item(0x20, b"\1\0\0\0" + item(0x30, MR) + item(0x40, EXPLICIT))
    user = item(0x50, item(0x51, struct.pack(">I", 131072)) + item(0x52, b"2.25.1"))
    body = (struct.pack(">HH", 1, 0) + called.encode().ljust(16) + b"BENCH".ljust(16) + bytes(32)
            + item(0x10, APPLICATION_CONTEXT) + context + user)
    connection = socket.create_connection(("127.0.0.1", port), 30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(120)
    connection.sendall(struct.pack(">BBI", 1, 0, len(body)) + body)
    kind, answer = read_pdu(connection)
    if kind != 2:
        raise ConnectionError(f"the association was refused: {answer.hex()}")
    at = answer.index(b"\x51\x00\x00\x04", 68)
    return connection, struct.unpack_from(">I", answer, at + 4)[0]


def replay(port, called, uids, shape, associations):
    """Seconds, how many were answered with success, and the microseconds that each one took."""
    noise = os.urandom(1 << 16)
    connection, pdu_max = associate(port, called)
    connection.close()
    shares = [[message(n, uid, dataset(uid, shape, noise), pdu_max) for n, uid in enumerate(uids[k::associations])]
              for k in range(associations)]
    stored, times, errors, begin = [0] * associations, [], [], threading.Barrier(associations + 1)

    def send(k):
        try:
            begin.wait()
            connection, _ = associate(port, called)
            for ready in shares[k]:
                sent = time.perf_counter()
                connection.sendall(ready)
                _, answer = read_pdu(connection)
                times.append((time.perf_counter() - sent) * 1e6)
                stored[k] += status_of(answer) == 0
            connection.sendall(struct.pack(">BBII", 5, 0, 4, 0))
            read_pdu(connection)
            connection.close()
        except (OSError, ValueError) as error:
            errors.append(error)

    threads = [threading.Thread(target=send, args=(k,)) for k in range(associations)]
    for thread in threads:
        thread.start()
    begin.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    if errors:
        raise errors[0]
    return seconds, sum(stored), times


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Receiver:
    """One receiver for one measurement, over an empty folder."""

    def __init__(self, kind, folder, options):
        self.kind, self.folder, self.port = kind, folder, free_port()
        environment = {**os.environ, "TCP_NODELAY": "1"}
        environment.pop("RUST_BACKTRACE", None)  # a developer's aid that a service does not run with
        if kind in ("ours process", "ours power"):
            self.called, durability = "OVERREAD", kind.split()[1]
            command = [options.listen, "--listen", f"127.0.0.1:{self.port}", "--dir", folder, "--durability", durability]
        elif kind.startswith("storescp"):
            self.called = "STORESCP"
            command = ["storescp", "--fork", "+B", "--disable-host-lookup", "-aet", "STORESCP", "-od", folder, str(self.port)]
            if kind == "storescp power":
                environment["LD_PRELOAD"] = options.shim
        elif kind == "dicom-rs":
            self.called = "STORE-SCP"
            command = [options.dicom_rs, "-p", str(self.port), "-o", folder, "--non-blocking"]
        else:
            self.called, http = "ORTHANC", free_port()
            file = os.path.join(options.scratch, "orthanc.json")
            with open(file, "w", encoding="utf-8") as out:
                json.dump({"StorageDirectory": folder, "IndexDirectory": folder, "DicomPort": self.port, "HttpPort": http,
                           "AuthenticationEnabled": False, "DicomAlwaysAllowStore": True, "Plugins": []}, out)
            command = [shutil.which("Orthanc") or "/usr/sbin/Orthanc", file]
        self.log = open(os.path.join(options.scratch, "log"), "wb")
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=self.log, start_new_session=True)
        self.wait()

    def wait(self):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self.settle(end)
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.02)
        raise SystemExit(f"{self.kind} does not listen; see its log")

    def settle(self, end):
        """Until its folder has not grown for a while."""
        before = -1
        while before != (now := allocated(self.folder)):
            if time.monotonic() > end:
                raise SystemExit(f"{self.kind} goes on writing though nobody sends")
            before = now
            time.sleep(QUIET_SECONDS)

    def held(self):
        if self.kind == "orthanc":
            return None
        below = os.path.join(self.folder, "spool") if self.kind.startswith("ours") else self.folder
        return sum(name.endswith(".dcm") or name.startswith("MR") for _, _, names in os.walk(below) for name in names)

    def peak_mb(self):
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as status:
            line = next(line for line in status if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024

    def stop(self):
        os.killpg(self.process.pid, 15)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)
            self.process.wait()
        self.log.close()


def allocated(folder):
    """Bytes on the disk below a folder."""
    return sum(os.stat(os.path.join(below, name)).st_blocks * 512 for below, _, names in os.walk(folder) for name in names)


def measure(kind, uids, shape, associations, options):
    folder = tempfile.mkdtemp(dir=options.scratch)
    receiver = Receiver(kind, folder, options)
    try:
        seconds, stored, times = replay(receiver.port, receiver.called, uids, shape, associations)
        peak, held = receiver.peak_mb(), receiver.held()
    finally:
        receiver.stop()
    empty(folder)
    if stored != len(uids) or held not in (None, len(uids)):
        raise SystemExit(f"{kind}: {len(uids)} sent, {stored} acknowledged, {held} held")
    return len(uids) / seconds, peak, times


def empty(folder):
    """Gives the space back and keeps the inodes; see above."""
    for below, _, names in os.walk(folder):
        for name in names:
            os.truncate(os.path.join(below, name), 0)


def uids_of(count, run):
    root = f"2.25.{time.time_ns()}.{run}".encode()
    return [root + b".1.%d" % number for number in range(count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", default=str(ROOT / "target/release/examples/listen"), help="our listener (scp/examples/listen.rs)")
    parser.add_argument("-n", type=int, default=1800, help="instances of 132 kB; a third as many of 525 kB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scratch", help="where receivers write: the disk that is measured")
    parser.add_argument("--dicom-rs", default=str(ROOT / ".tools/bin/dicom-storescp"), help="the storescp of dicom-rs")
    parser.add_argument("--no-orthanc", action="store_true")
    parser.add_argument("--strict", "--check", action="store_true", help="exit with 1 when a bar is missed")
    options = parser.parse_args()
    options.scratch = tempfile.mkdtemp(dir=options.scratch)
    leave_nothing_behind(options.scratch)
    options.shim = os.path.join(options.scratch, "durable_close.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", options.shim, str(HERE / "durable_close.c"), "-ldl"], check=True)
    try:
        missed = compare(options)
    finally:
        shutil.rmtree(options.scratch)
    if missed and options.strict:
        sys.exit(f"missed: {', '.join(missed)}")


def leave_nothing_behind(scratch):
    """See above; whoever may not or need not does without."""
    subprocess.run(["chattr", "+T", scratch], stderr=subprocess.DEVNULL, check=False)
    os.sync()
    try:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n", encoding="ascii")
    except OSError:
        print("the page cache cannot be emptied: not root, or a container")


def compare(options):
    kinds = ["ours process", "storescp process", "ours power", "storescp power"]
    kinds += [] if options.no_orthanc else ["orthanc"]
    if os.path.exists(options.dicom_rs):
        kinds.append("dicom-rs")
    else:
        print("dicom-rs storescp is not installed: left out (make bench installs it)")
    cells = [(name, shape, associations, options.n if name == "132 kB" else max(options.n // 3, 1))
             for name, shape in SIZES.items() for associations in (1, 4)] + [("200 MB", LARGE["200 MB"], 1, 2)]
    results, missed, process_ratios, orthanc_ratios = [], [], [], []
    print(f"{'set':12} {'receiver':18} {'inst/s':>8} {'undisturbed':>12}   ours/peer (median of {options.rounds} rounds)")
    for name, shape, associations, count in cells:
        rates, peaks, times = {kind: [] for kind in kinds}, {}, {kind: [] for kind in kinds}
        for run in range(options.rounds):
            for kind in kinds[run % len(kinds):] + kinds[:run % len(kinds)]:
                rate, peaks[kind], taken = measure(kind, uids_of(count, run), shape, associations, options)
                rates[kind].append(rate)
                times[kind] += taken
        undisturbed = {kind: sorted(taken)[len(taken) // 10] for kind, taken in times.items()}
        ratio = {}
        for ours, peer in (("ours process", "storescp process"), ("ours power", "storescp power"), ("ours power", "orthanc"), ("ours process", "dicom-rs")):
            if peer in rates:
                ratio[peer] = statistics.median(mine / theirs for mine, theirs in zip(rates[ours], rates[peer]))
        bars = {"storescp process": 1.1, "storescp power": 1.4 if associations == 4 else 1.0}
        if name == "200 MB":
            bars = {"storescp process": 1.0}
            if peaks["ours process"] > 40:
                missed.append(f"200 MB: {peaks['ours process']:.0f} MB of memory")
        else:
            process_ratios.append(ratio["storescp process"])
            orthanc_ratios += [ratio["orthanc"]] if "orthanc" in ratio else []
        for kind in kinds:
            bar = bars.get(kind)
            note = f"{ratio[kind]:.2f}" + (f"  (bar {bar})" if bar else "") if kind in ratio else ""
            if bar and ratio[kind] < bar:
                note += "  MISSED"
                missed.append(f"{name} x{associations} {kind}: {ratio[kind]:.2f}")
            print(f"{name + ' x' + str(associations):12} {kind:18} {statistics.median(rates[kind]):8.1f} {undisturbed[kind]:9.0f} us   {note}", flush=True)
        results.append({"set": name, "associations": associations, "rates": rates, "ratios": ratio, "peak_mb": peaks,
                        "undisturbed_us": undisturbed})
    for label, ratios, bar in (("process, geometric mean over storescp", process_ratios, 1.3),
                               ("power, geometric mean over Orthanc", orthanc_ratios, 2.5)):
        if ratios:
            mean = math.prod(ratios) ** (1 / len(ratios))
            print(f"{label}: {mean:.2f}  (bar {bar}){'  MISSED' if mean < bar else ''}")
            if mean < bar:
                missed.append(f"{label}: {mean:.2f}")
    print(json.dumps({"bench": "store", "results": results}))
    return missed


if __name__ == "__main__":
    main()
