-- The ledger, as SQLite keeps it. migrations/postgres holds the same tables and columns.
--
-- Times are unix milliseconds. Identifiers are text (UUIDv7), except where the order of
-- rows matters: those are numbers that only grow. JSON is kept as text.

-- Who brought instances in, and whether it said that it had finished.
create table association (
    association_id text    primary key,
    door           text    not null check (door in ('dimse', 'stow', 'orthanc', 'upload', 'recovery')),
    calling_ae     text    not null,
    called_ae      text    not null,
    peer           text    not null,
    node_id        text    not null,
    boot_id        text    not null,
    opened_at      integer not null,
    ended_at       integer,
    ending         text    check (ending in ('released', 'aborted', 'lost')),
    check ((ending is null) = (ended_at is null))
) strict;

create index association_open on association (node_id) where ended_at is null;

-- One row for each study, for ever: forgetting a study empties what names the patient.
create table study (
    study_uid          text    primary key,
    -- Grows whenever something arrives or becomes known about the study.
    revision           integer not null check (revision > 0),
    -- The revision of the last thing that asks for a look at once.
    prompted_revision  integer not null check (prompted_revision <= revision),
    -- The revision that readiness last looked at.
    looked_revision    integer not null default 0 check (looked_revision <= revision),
    look_again_at      integer,
    waits_for          text,
    patient_id         text    not null,
    patient_issuer     text    not null,
    patient_name       text    not null,
    patient_birth_date text    not null,
    patient_sex        text    not null,
    accession_number   text    not null,
    study_date         text    not null,
    study_time         text    not null,
    study_description  text    not null,
    first_arrival_at   integer not null,
    last_arrival_at    integer not null,
    stable_at          integer,
    stable_revision    integer,
    forced_at          integer,
    forced_by          text,
    forced_revision    integer,
    forgotten_at       integer,
    check ((stable_at is null) = (stable_revision is null)),
    check ((forced_at is null) = (forced_by is null)),
    check ((forced_at is null) = (forced_revision is null))
) strict;

create index study_recent on study (last_arrival_at, study_uid);
create index study_unseen on study (last_arrival_at) where revision > looked_revision;
create index study_look_again on study (look_again_at) where look_again_at is not null;

create table series (
    study_uid          text    not null references study,
    series_uid         text    not null,
    -- Grows with every instance that arrives for the series, and with nothing else.
    revision           integer not null check (revision > 0),
    instance_count     integer not null check (instance_count >= 0),
    modality           text    not null,
    series_description text    not null,
    body_part          text    not null,
    series_number      integer,
    first_arrival_at   integer not null,
    last_arrival_at    integer not null,
    stable_at          integer,
    stable_revision    integer,
    primary key (study_uid, series_uid),
    check ((stable_at is null) = (stable_revision is null))
) strict;

create table instance (
    sop_instance_uid    text    primary key,
    study_uid           text    not null references study,
    series_uid          text    not null,
    sop_class_uid       text    not null,
    transfer_syntax_uid text    not null,
    digest              text    not null,
    size_bytes          integer not null check (size_bytes >= 0),
    header              text    not null,
    association_id      text    not null references association,
    arrived_at          integer not null,
    foreign key (study_uid, series_uid) references series
) strict;

create index instance_of_series on instance (study_uid, series_uid, sop_instance_uid);
create index instance_of_association on instance (association_id);

-- Which association carried something for which series, repeats included.
create table association_series (
    association_id text    not null references association,
    study_uid      text    not null references study,
    series_uid     text    not null,
    instance_count integer not null check (instance_count > 0),
    last_at        integer not null,
    primary key (association_id, study_uid, series_uid),
    foreign key (study_uid, series_uid) references series
) strict;

create index association_series_of_series on association_series (study_uid, series_uid);

-- Why no result of a study may leave, until a person has decided.
create table hold (
    hold_id     text    primary key,
    study_uid   text    not null references study,
    reason      text    not null check (reason in ('identity-conflict', 'quarantined-twin', 'manual')),
    -- What the hold is about: the same matter is raised once, also after it was released.
    subject     text    not null,
    raised_at   integer not null,
    raised_by   text    not null,
    released_at integer,
    released_by text,
    unique (study_uid, reason, subject),
    check ((released_at is null) = (released_by is null))
) strict;

create index hold_open on hold (study_uid) where released_at is null;

-- What arrived whole but could not be used, and where it is kept.
create table quarantined (
    quarantined_id   text    primary key,
    kept_as          text    not null,
    reason           text    not null check (reason in ('unparsable', 'twin', 'misplaced')),
    detail           text    not null,
    association_id   text    references association,
    study_uid        text    references study,
    sop_instance_uid text,
    at               integer not null
) strict;

create index quarantined_recent on quarantined (at, quarantined_id);

create table job (
    job_id           text    primary key,
    key              text    not null unique,
    study_uid        text    not null references study,
    -- Which series, split how, for which model: a newer job with the same question supersedes.
    question         text    not null,
    -- The study's revision that the input was read at.
    input_revision   integer not null,
    model_id         text    not null,
    model_version    text    not null,
    model_digest     text    not null,
    options          text    not null,
    -- 0 routine, 1 STAT
    priority         integer not null check (priority in (0, 1)),
    state            text    not null check (state in ('queued', 'leased', 'running', 'computed', 'done',
                                                       'failed', 'dead', 'cancelled', 'superseded')),
    progress_permille integer not null default 0 check (progress_permille between 0 and 1000),
    -- Grows with every claim: who holds an older number has lost the job.
    lease_number     integer not null default 0,
    worker_id        text,
    node_id          text,
    boot_id          text,
    lease_until      integer,
    leased_at        integer,
    not_before       integer not null,
    attempts         integer not null default 0,
    lost_leases      integer not null default 0,
    failure_kind     text    check (failure_kind in ('may-pass', 'cannot-pass', 'lease-lost')),
    failure          text,
    superseded_by    text    references job,
    request_id       text,
    created_at       integer not null,
    state_since      integer not null,
    check ((state in ('leased', 'running')) = (lease_until is not null)),
    check ((lease_until is null) = (worker_id is null)),
    check ((failure_kind is null) = (failure is null)),
    check ((state = 'superseded') = (superseded_by is not null))
) strict;

create index job_due on job (model_id, priority desc, created_at, job_id) where state in ('queued', 'failed');
create index job_served on job (model_id, leased_at);
create index job_leased on job (lease_until) where lease_until is not null;
create index job_of_study on job (study_uid, created_at);
create index job_of_question on job (question);
create index job_recent on job (created_at, job_id);
create index job_in_state on job (state, model_id);

-- Models that ever had a job, so that a claim need not read the whole queue to be fair.
create table model_queue (
    model_id text primary key
) strict;

-- What a job was asked to look at, channel by channel.
create table job_input (
    job_id     text    not null references job,
    channel    integer not null,
    study_uid  text    not null references study,
    series_uid text    not null,
    stack      integer not null,
    instances  text    not null,
    primary key (job_id, channel),
    foreign key (study_uid, series_uid) references series
) strict;

create index job_input_of_series on job_input (study_uid, series_uid);

create table result (
    result_id     text    primary key,
    job_id        text    not null unique references job,
    study_uid     text    not null references study,
    question      text    not null,
    model_id      text    not null,
    model_version text    not null,
    outcome       text    not null check (outcome in ('findings', 'not-analysed')),
    findings      text    not null,
    computed_at   integer not null,
    released_at   integer,
    superseded_by text    references result
) strict;

create index result_of_study on result (study_uid, computed_at);
create index result_of_question on result (question) where released_at is not null;
create index result_recent on result (computed_at, result_id);

-- Objects that a result consists of; their bytes are in the spool.
create table artifact (
    artifact_id      text    primary key,
    result_id        text    not null references result,
    study_uid        text    not null references study,
    series_uid       text    not null,
    sop_instance_uid text    not null unique,
    sop_class_uid    text    not null,
    role             text    not null,
    profile          text    not null,
    part             integer not null,
    digest           text    not null,
    size_bytes       integer not null,
    unique (result_id, role, profile, part)
) strict;

create table delivery (
    delivery_id integer primary key autoincrement,
    destination text    not null,
    -- Deliveries of one lane leave in order; the lane of an object is its study.
    lane        text    not null,
    study_uid   text    references study,
    artifact_id text    references artifact,
    payload     text,
    state       text    not null check (state in ('waiting', 'sending', 'sent', 'proved', 'parked', 'dropped')),
    attempts    integer not null default 0,
    lease_number integer not null default 0,
    node_id     text,
    boot_id     text,
    lease_until integer,
    not_before  integer not null,
    failure     text,
    created_at  integer not null,
    state_since integer not null,
    unique (destination, artifact_id),
    check ((artifact_id is null) <> (payload is null)),
    check ((state = 'sending') = (lease_until is not null))
) strict;

create index delivery_blocking on delivery (destination, lane, delivery_id) where state in ('waiting', 'sending', 'parked');
create index delivery_due on delivery (destination, not_before) where state in ('waiting', 'sending');
create index delivery_unproved on delivery (destination, not_before) where state = 'sent';
create index delivery_of_artifact on delivery (artifact_id);
create index delivery_of_study on delivery (study_uid);

-- What is known about a place that results go to.
create table destination (
    destination text    primary key,
    failures    integer not null default 0,
    failure     text,
    retry_at    integer,
    reached_at  integer
) strict;

-- Every change of state: who, what, when, from which request. Rows are added, never edited.
create table event (
    seq         integer primary key autoincrement,
    at          integer not null,
    kind        text    not null,
    study_uid   text    references study,
    job_id      text,
    result_id   text,
    delivery_id integer,
    actor       text    not null,
    request_id  text,
    detail      text    not null
) strict;

create index event_of_study on event (study_uid, seq);
create index event_of_job on event (job_id, seq) where job_id is not null;

-- How far a reader of somebody's feed has come.
create table cursor (
    name  text    primary key,
    value text    not null,
    at    integer not null
) strict;

create table account (
    account_id    text    primary key,
    name          text    not null unique,
    role          text    not null check (role in ('admin', 'doctor', 'technician', 'service', 'worker')),
    full_name     text    not null,
    organization  text    not null,
    password_hash text    not null,
    failed_logins integer not null default 0,
    locked_until  integer,
    disabled_at   integer,
    created_at    integer not null
) strict;

create table api_key (
    api_key_id text    primary key,
    name       text    not null,
    role       text    not null check (role in ('admin', 'doctor', 'technician', 'service', 'worker')),
    scopes     text    not null,
    hash       text    not null unique,
    created_by text    not null,
    created_at integer not null,
    expires_at integer,
    used_at    integer,
    revoked_at integer
) strict;

-- Sign-ins: what a browser holds, what renews it, and logins that work once.
create table session (
    session_id text    primary key,
    account_id text    not null references account,
    kind       text    not null check (kind in ('access', 'refresh', 'one-time')),
    hash       text    not null unique,
    created_at integer not null,
    expires_at integer not null,
    used_at    integer,
    revoked_at integer
) strict;

create index session_of_account on session (account_id);
create index session_expiry on session (expires_at);

-- The audit trail: each row carries a MAC over itself and the row before it.
create table audit (
    seq        integer primary key,
    at         integer not null,
    actor      text    not null,
    action     text    not null,
    subject    text    not null,
    request_id text,
    detail     text    not null,
    mac        text    not null
) strict;

-- Which installation this is: all nodes of one database derive the same UIDs from it.
create table installation (
    only_row        integer primary key check (only_row = 1),
    installation_id text    not null,
    adopted_at      integer not null
) strict;
