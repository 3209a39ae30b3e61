"""Asks for an association under a user identity with pynetdicom. Prints "accepted", or how it was refused.

Usage: identity.py PORT none|passcode|jwt [PRIMARY [SECONDARY]]
"""
import sys

from pynetdicom import AE
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
association = ae.associate("127.0.0.1", int(port), ae_title="OVERREAD", ext_neg=items)
if association.is_established:
    answered = any(isinstance(item, UserIdentityNegotiation) for item in association.acceptor.user_information)
    print("accepted and answered" if answered else "accepted", f"{association.send_c_echo().Status:04X}")
    association.release()
else:
    # `associate` may return before the association's own thread has looked at the refusal.
    association.join(timeout=30)
    refusal = association.acceptor.primitive
    print("refused", refusal.result, refusal.result_source, refusal.diagnostic)
