-- Requests that carry an Idempotency-Key: what was carried out once, and how it was answered.
create table idempotency_claim (
    -- The digest of caller and key: the text of a key may be anything, a patient's number too.
    claim_id     text    primary key,
    caller       text    not null,
    -- The digest of method, address and body.
    fingerprint  text    not null,
    -- Which process carries it out.
    node_id      text    not null,
    boot_id      text    not null,
    state        text    not null check (state in ('open', 'answered', 'unknown')),
    status       bigint,
    content_type text,
    -- None where it is too long, or a secret.
    body         text,
    kept_bytes   bigint  not null,
    claimed_at   bigint  not null,
    check ((state = 'answered') = (status is not null))
);

create index idempotency_claim_of_caller on idempotency_claim (caller, kept_bytes);
create index idempotency_claim_by_age on idempotency_claim (claimed_at);
