-- Studies that somebody asked for all at once.
create table batch (
    batch_id    text    primary key,
    actor       text    not null,
    request_id  text,
    created_at  bigint  not null,
    -- When the last of its items was settled.
    finished_at bigint 
);

create index batch_recent on batch (created_at, batch_id);

create table batch_item (
    batch_id   text    not null references batch,
    number     bigint  not null,
    -- Which entry of the request it comes from, counted from 1. What that entry said is not kept:
    -- it may name a patient.
    position   bigint  not null,
    study_uid  text    references study,
    state      text    not null check (state in ('waiting', 'running', 'succeeded', 'failed')),
    reason     text,
    -- The study's revision that is to be analysed.
    revision   bigint ,
    changed_at bigint  not null,
    primary key (batch_id, number),
    check ((state = 'failed') = (reason is not null))
);

create index batch_item_open on batch_item (state, batch_id, number) where state in ('waiting', 'running');
create index batch_item_of_study on batch_item (study_uid);
