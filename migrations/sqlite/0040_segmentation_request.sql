-- Series that a program outside is to segment: it asks for them, and says how far it is.
create table segmentation_request (
    request_id   integer primary key autoincrement,
    -- The asker's word for the series: a UID, or an identifier of Orthanc.
    series_id    text    not null,
    state        text    not null check (state in ('pending', 'processing', 'completed', 'failed')),
    progress     integer not null default 0,
    attempts     integer not null default 0,
    worker       text,
    lease_until  integer,
    requested_by text    not null,
    created_at   integer not null,
    changed_at   integer not null,
    -- What the worker handed in.
    outcome      text,
    failure      text,
    check ((state = 'processing') = (lease_until is not null))
) strict;

-- A series is asked for once at a time.
create unique index segmentation_request_open on segmentation_request (series_id) where state in ('pending', 'processing');
