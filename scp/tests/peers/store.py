"""Stores files with pynetdicom, each in its own transfer syntax. Prints one status a line.

Usage: store.py HOST PORT FILE...      over TLS when TLS_CA names who must have signed the other's certificate
"""
import os
import ssl
import sys
import warnings

warnings.simplefilter("ignore")
from pydicom import dcmread  # noqa: E402
from pynetdicom import AE  # noqa: E402

authority = os.environ.get("TLS_CA")
tls = (ssl.create_default_context(cafile=authority), "localhost") if authority else None
host, port, files = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
for path in files:
    dataset = dcmread(path)
    ae = AE(ae_title="PYNETDICOM")
    ae.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = ae.associate(host, port, ae_title="OVERREAD", tls_args=tls)
    assert association.is_established, path
    print(f"{association.send_c_store(path).Status:04X}")
    association.release()
