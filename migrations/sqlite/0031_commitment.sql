-- What archives were asked to commit themselves to, and what they said (DICOM PS3.4 Annex J). The row is there
-- before the question is asked: the report may come at any time, on an association of the archive's own.
create table commitment (
    transaction_uid  text    not null,
    delivery_id      integer not null references delivery,
    sop_instance_uid text    not null,
    asked_at         integer not null,
    answered_at      integer,
    outcome          text    check (outcome in ('committed', 'failed')),
    reason           text,
    primary key (transaction_uid, sop_instance_uid),
    check ((answered_at is null) = (outcome is null))
) strict;

create index commitment_of_delivery on commitment (delivery_id, asked_at);
