-- Runs of a package's own training command over reviewed cases, and what became of what they made.
create table retraining (
    retraining_id text    primary key,
    model_id      text    not null,
    base_version  text    not null,
    new_version   text    not null,
    actor         text    not null,
    request_id    text,
    created_at    bigint  not null,
    state         text    not null check (state in ('queued', 'running', 'shadow', 'promoted', 'discarded', 'failed')),
    state_since   bigint  not null,
    -- Grows with every change that a person sees: who decides says which one he saw.
    number        bigint  not null default 1,
    attempts      bigint  not null default 0,
    node_id       text,
    boot_id       text,
    lease_until   bigint,
    failure       text,
    -- How old and new version answer the reviewed cases; no patient is in it.
    report        text,
    check ((state = 'running') = (lease_until is not null)),
    check ((state = 'failed') = (failure is not null))
);

-- One at a time for each model.
create unique index retraining_open on retraining (model_id) where state in ('queued', 'running');
create unique index retraining_version on retraining (model_id, new_version) where state in ('queued', 'running', 'shadow', 'promoted');
create index retraining_recent on retraining (created_at, retraining_id);
create index retraining_in_state on retraining (state, created_at);
