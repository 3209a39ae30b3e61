-- How far the audit trail has come with each journal of calls: written with the rows of the last batch.
create table call_journal (
    journal_id text    primary key,
    applied    integer not null check (applied >= 0)
) strict;
