"""Stores an instance, then asks for storage commitment with pynetdicom.

The first request names what was stored; the second also an instance that nobody has; the third the right instance with
a wrong class. Prints the status of each action and what each report says.

Usage: commit.py same|own:PORT|later|again SCP_PORT FILE    own: reports come to a listener of ours; later: only the
       commit.py report PORT                                first request, without waiting; again: only the first
                                                            request, nothing stored; report: waits for a report
Over TLS when TLS_CA names who must have signed the other's certificate.
"""
import os
import queue
import ssl
import sys
import warnings

warnings.simplefilter("ignore")
from pydicom import dcmread  # noqa: E402
from pydicom.dataset import Dataset  # noqa: E402
from pydicom.uid import generate_uid  # noqa: E402
from pynetdicom import AE, build_role, evt  # noqa: E402
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance  # noqa: E402

where, port, path = sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None
reports: queue.Queue = queue.Queue()


def on_report(event):
    reports.put((event.request.EventTypeID, event.event_information))
    return 0x0000, None


handlers = [(evt.EVT_N_EVENT_REPORT, on_report)]


def listen(on):
    listener = AE(ae_title="MODALITY")
    listener.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    return listener.start_server(("127.0.0.1", on), block=False, evt_handlers=handlers)


def say(kind, report):
    confirmed, failed = report.get("ReferencedSOPSequence", []), report.get("FailedSOPSequence", [])
    reason = f" reason {failed[0].FailureReason:04X}" if failed else ""
    print(f"event {kind} confirmed {len(confirmed)} failed {len(failed)}{reason}")


if where == "report":
    server = listen(port)
    say(*reports.get(timeout=50))
    server.shutdown()
    sys.exit()
dataset = dcmread(path)
ae = AE(ae_title="MODALITY")
ae.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
ae.add_requested_context(StorageCommitmentPushModel)
server = None
if where.startswith("own:"):
    server = listen(int(where[4:]))
authority = os.environ.get("TLS_CA")
tls = (ssl.create_default_context(cafile=authority), "localhost") if authority else None
association = ae.associate("127.0.0.1", port, ae_title="OVERREAD", evt_handlers=handlers, tls_args=tls)
assert association.is_established
if where != "again":
    assert association.send_c_store(path).Status == 0


def ask(*references):
    request = Dataset()
    request.TransactionUID = generate_uid()
    request.ReferencedSOPSequence = []
    for sop_class, sop_instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        request.ReferencedSOPSequence.append(item)
    status, _ = association.send_n_action(request, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
    print(f"action {status.Status:04X}")
    if where == "later":
        return
    kind, report = reports.get(timeout=30)
    assert report.TransactionUID == request.TransactionUID
    say(kind, report)


known = (dataset.SOPClassUID, dataset.SOPInstanceUID)
ask(known)
if where in ("later", "again"):
    association.release()
    sys.exit()
ask(known, (dataset.SOPClassUID, "1.2.3.4.5.6.7"))
ask(("1.2.840.10008.5.1.4.1.1.481.1", dataset.SOPInstanceUID))
association.release()
if server:
    server.shutdown()
