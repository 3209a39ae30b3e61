#!/usr/bin/env python3
"""How long a CT's classification takes to be answered: alone, and while MR segmentations run.

One `overread serve` with the packages that ship. A slice of a head CT is posted to `/predict/ct_classification` with its
heatmap, each time with another pixel changed, so that no answer comes from memory. Then MR studies of 160 slices are
sent for `mr-brain-seg`, and only answers count before and after which a job was running. The contract asks for an
answer within 5 s.
"""

import argparse
import io
import json
import pathlib
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request

import e2e
import site_under_test
from site_under_test import ROOT, Site

GOAL = 5.0
CT = ROOT / "tests/data/ct-head/philips-ingenuity-head-5mm.tar.xz"
# What is measured is not how often one caller may ask.
SETTINGS = "[limits]\npredicts_per_minute = 100000\nrequests_per_minute = 100000\n"


class Service:
    def __init__(self, site):
        made = subprocess.run(
            [site_under_test.BINARY, "key", "create", "--name", "bench", "--role", "service"],
            cwd=site.folder, check=True, capture_output=True, text=True, timeout=60,
        )
        self.base, self.key = f"http://127.0.0.1:{site.http_port}", made.stdout.split()[-1]

    def ask(self, path, body=None, kind="application/json"):
        headers = {"X-API-KEY": self.key, "Content-Type": kind}
        request = urllib.request.Request(self.base + path, body, headers)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def segments(self):
        return any(self.ask(f"/v1/jobs?state={state}")["items"] for state in ("leased", "running"))

    def classify(self, image):
        """Seconds until the whole answer is here."""
        parts = [('name="patient_id"', b"12"), ('name="image"; filename="1.dcm"', image)]
        body = b"".join(
            f"--b\r\nContent-Disposition: form-data; {name}\r\n\r\n".encode() + value + b"\r\n" for name, value in parts
        )
        begin = time.perf_counter()
        answer = self.ask("/predict/ct_classification", body + b"--b--\r\n", "multipart/form-data; boundary=b")
        if answer["cached"]:
            raise SystemExit("an answer came from memory")
        return time.perf_counter() - begin


def images(count):
    """The middle slice of the CT, each with another value in its first pixel."""
    import pydicom

    with tarfile.open(CT) as archive:
        names = sorted(member.name for member in archive if member.isfile())
        content = archive.extractfile(names[len(names) // 2]).read()
    for number in range(count):
        image = pydicom.dcmread(io.BytesIO(content))
        if image.file_meta.TransferSyntaxUID.is_compressed:
            image.decompress()
        pixels = image.pixel_array.copy()
        pixels[0, 0] = number
        image.PixelData = pixels.tobytes()
        buffer = io.BytesIO()
        image.save_as(buffer)
        yield buffer.getvalue()


def send_studies(site, count, slices):
    import pydicom

    with tempfile.TemporaryDirectory(prefix="overread-bench-mr-") as folder:
        folder = pathlib.Path(folder)
        e2e.write_study(folder, slices)
        files = sorted(folder.glob("*.dcm"))
        for number in range(count):
            for path in files:
                image = pydicom.dcmread(path)
                image.SeriesDescription, image.BodyPartExamined = "t1 mprage", "BRAIN"
                for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
                    setattr(image, name, f"{getattr(image, name).split('.9.')[0]}.9.{number + 1}")
                image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
                image.save_as(path)
            e2e.send(files, site.dicom_port, "OVERREAD")


def tell(name, seconds):
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    verdict = "within" if high <= GOAL else "MISSES"
    print(f"  {name:26} median {middle:6.2f} s   (min {low:.2f}, max {high:.2f}, {len(seconds)} answers; the slowest "
          f"{verdict} the {GOAL:.0f} s of the contract)")
    return high <= GOAL


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=20)
    parser.add_argument("--studies", type=int, default=4)
    parser.add_argument("--slices", type=int, default=160)
    parser.add_argument("--binary", type=pathlib.Path, default=site_under_test.BINARY)
    arguments = parser.parse_args()
    site_under_test.BINARY = arguments.binary.resolve()
    with Site(SETTINGS, allow=("ct-brain-class", "mr-brain-seg")) as site:
        site.wait_ready()
        service, supply = Service(site), images(10 * arguments.answers + 2)
        service.classify(next(supply))
        alone = [service.classify(next(supply)) for _ in range(arguments.answers)]
        send_studies(site, arguments.studies, arguments.slices)
        beside, begin = [], time.perf_counter()
        while not service.segments():
            if time.perf_counter() - begin > 60:
                raise SystemExit("no segmentation began")
            time.sleep(0.01)
        for image in supply:
            if len(beside) == arguments.answers or not service.segments():
                break
            seconds = service.classify(image)
            if service.segments():
                beside.append(seconds)
    print("a CT's classification with its heatmap, from the request to the whole answer")
    met = tell("alone", alone)
    if not beside:
        sys.exit("no answer fell into a running segmentation: ask for more studies")
    met &= tell("beside a segmentation", beside)
    print(f"  beside / alone: {statistics.median(beside) / statistics.median(alone):.2f}")
    sys.exit(0 if met else "bars missed: ct")


if __name__ == "__main__":
    main()
