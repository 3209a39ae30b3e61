"""Asks for an association under a user identity with pynetdicom. Prints "accepted", or how it was refused.

Usage: identity.py PORT none|passcode|jwt [PRIMARY [SECONDARY]]
"""
import sys

from pynetdicom import AE, evt
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.sop_class import Verification

KINDS = {"passcode": 2, "jwt": 5}
port, kind, *fields = sys.argv[1:]
items = []
if kind != "none":
    identity = UserIdentityNegotiation()
    identity.user_identity_type = KINDS[kind]
    identity.primary_field = fields[0].encode()
    if len(fields) > 1:
        identity.secondary_field = fields[1].encode()
    identity.positive_response_requested = True
    items.append(identity)
ae = AE(ae_title="PYNETDICOM")
ae.add_requested_context(Verification)
# The PDU itself: a refusal that comes at once closes the connection before pynetdicom's `associate` has
# looked at it, which then speaks of an abort.
refusals = []
association = ae.associate(
    "127.0.0.1", int(port), ae_title="OVERREAD", ext_neg=items,
    evt_handlers=[(evt.EVT_PDU_RECV, lambda event: refusals.append(event.pdu))])
if association.is_established:
    answered = any(isinstance(item, UserIdentityNegotiation) for item in association.acceptor.user_information)
    print("accepted and answered" if answered else "accepted", f"{association.send_c_echo().Status:04X}")
    association.release()
else:
    refusal = next(pdu for pdu in refusals if isinstance(pdu, A_ASSOCIATE_RJ))
    print("refused", refusal.result, refusal.source, refusal.reason_diagnostic)
