"""An archive by pynetdicom that takes everything and is asked for storage commitment.

It reports on the association that asked. The first report says of everything that it is not there (when told "first
refuse"), later ones that it is kept. Prints a line for each question and each answer to its report.

Usage: archive.py PORT commits|refuses-first|offers-none
"""
import os
import sys
import threading
import warnings

warnings.simplefilter("ignore")
from pydicom.dataset import Dataset  # noqa: E402
from pynetdicom import AE, StoragePresentationContexts, evt  # noqa: E402
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance, Verification  # noqa: E402

port, mode = int(sys.argv[1]), sys.argv[2]
stored, asked = set(), []


def say(line):
    """In one write: `print` writes the end of a line apart, and each association has a thread."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


def on_store(event):
    stored.add(event.request.AffectedSOPInstanceUID)
    say(f"priority {event.request.Priority}")
    return 0x0000


def on_action(event):
    asked.append(event.action_information)
    say(f"asked {len(event.action_information.ReferencedSOPSequence)}")
    threading.Timer(0.2, report, [event.assoc, event.action_information, len(asked)]).start()
    return 0x0000, None


def report(association, question, number):
    answer = Dataset()
    answer.TransactionUID = question.TransactionUID
    kept, missing = [], []
    for item in question.ReferencedSOPSequence:
        is_kept = item.ReferencedSOPInstanceUID in stored and not (mode == "refuses-first" and number == 1)
        one = Dataset()
        one.ReferencedSOPClassUID = item.ReferencedSOPClassUID
        one.ReferencedSOPInstanceUID = item.ReferencedSOPInstanceUID
        if not is_kept:
            one.FailureReason = 0x0112
        (kept if is_kept else missing).append(one)
    if kept:
        answer.ReferencedSOPSequence = kept
    if missing:
        answer.FailedSOPSequence = missing
    status, _ = association.send_n_event_report(
        answer, 2 if missing else 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    say(f"reported {len(kept)} {len(missing)} answered {status.get('Status', 'nothing')}")


ae = AE(ae_title="ARCHIVE")
ae.supported_contexts = StoragePresentationContexts
for context in ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"):
    ae.add_supported_context(context)
ae.add_supported_context(Verification)
if mode != "offers-none":
    ae.add_supported_context(StorageCommitmentPushModel)
ae.start_server(("127.0.0.1", port), block=True, evt_handlers=[(evt.EVT_C_STORE, on_store), (evt.EVT_N_ACTION, on_action)])
