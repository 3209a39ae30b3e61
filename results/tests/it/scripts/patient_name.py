"""Prints the patient's name of a file, as pydicom decodes it."""
import sys

import pydicom

sys.stdout.reconfigure(encoding="utf-8")
print(str(pydicom.dcmread(sys.argv[1]).PatientName))
