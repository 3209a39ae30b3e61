-- Reports of storage commitment that go out on an association of ours (DICOM PS3.4 Annex J). The row is there before
-- the request is answered, and goes when the requester has taken the report.
create table owed_report (
    requester       text    not null,
    transaction_uid text    not null,
    -- Whose spool it is about.
    node            text    not null,
    -- The SOP class and instance of each object that was asked about.
    asked           text    not null,
    owed_since      integer not null,
    attempts        integer not null default 0,
    not_before      integer not null,
    primary key (requester, transaction_uid)
) strict;

create index owed_report_due on owed_report (node, not_before);
