"""The peer of `overread seg`: the shortest correct use of highdicom, as its documentation shows it."""

import pathlib
import sys

import highdicom as hd
import numpy as np
import pydicom
from highdicom.sr.coding import CodedConcept


def main(source, labels, out):
    images = [pydicom.dcmread(file, stop_before_pixels=True) for file in sorted(pathlib.Path(source).iterdir())]
    images.sort(key=lambda image: float(image.ImagePositionPatient[2]))
    algorithm = hd.AlgorithmIdentificationSequence(
        name="bench", version="1", family=CodedConcept("123110", "DCM", "Artificial Intelligence")
    )
    segments = [
        hd.seg.SegmentDescription(
            segment_number=value,
            segment_label=f"Part {value}",
            segmented_property_category=CodedConcept("49755003", "SCT", "Morphologically Abnormal Structure"),
            segmented_property_type=CodedConcept("52988006", "SCT", "Lesion"),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for value in (1, 2, 3)
    ]
    seg = hd.seg.Segmentation(
        source_images=images,
        pixel_array=np.load(labels),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=hd.UID(),
        series_number=300,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="Bench",
        manufacturer_model_name="bench",
        software_versions="1",
        device_serial_number="1",
    )
    seg.save_as(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
