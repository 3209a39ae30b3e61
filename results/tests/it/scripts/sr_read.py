"""Reads a report with highdicom and prints what its measurement groups say."""
import sys

import highdicom as hd

sys.stdout.reconfigure(encoding="utf-8")
sr = hd.sr.srread(sys.argv[1])
content = sr.content
groups = (content.get_volumetric_roi_measurement_groups() + content.get_planar_roi_measurement_groups()
          + content.get_image_measurement_groups())
print(len(groups), "groups", sr.VerificationFlag)
for group in groups:
    assert group.tracking_uid and group.tracking_identifier
    measurements = group.get_measurements()
    assert measurements, "a group without a measurement"
    for measurement in measurements:
        print(group.tracking_identifier, measurement.name.meaning, measurement.value, measurement.unit.value)
    for evaluation in group.get_qualitative_evaluations():
        print(group.tracking_identifier, evaluation.name.meaning, evaluation.value.meaning)
    if isinstance(group, hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations):
        segment = group.referenced_segment
        print("segment", segment.referenced_segment_numbers, segment.source_series_for_segmentation.value)
