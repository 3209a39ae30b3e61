-- The same tables and columns as migrations/sqlite/0010_review.sql.
--
-- What doctors decided about results. Rows are added, never edited; only a comment, which
-- may name a patient, goes when its study is forgotten.
create table review (
    review_id    text    primary key,
    result_id    text    not null references result,
    study_uid    text    not null references study,
    -- Its place in the history of the result, from 1 on: two doctors cannot take the same.
    number       bigint  not null check (number > 0),
    decision     text    not null check (decision in ('accept', 'reject', 'correct', 'undo')),
    reason       text    check (reason in ('quality', 'patient-safety')),
    correction   text,
    comment      text,
    account_id   text    not null references account,
    -- Who that was at the time, as the documents name him.
    login        text    not null,
    full_name    text    not null,
    organization text    not null,
    request_id   text,
    at           bigint  not null,
    unique (result_id, number),
    check ((decision = 'reject') = (reason is not null)),
    check ((decision = 'correct') = (correction is not null))
);

create index review_of_study on review (study_uid);
create index review_recent on review (at, review_id);

-- Where a result stands, and how many reviews led there. What it says is never edited.
alter table result add column review_state text not null default 'pending'
    check (review_state in ('pending', 'accepted', 'rejected', 'corrected'));
alter table result add column review_number bigint  not null default 0;

create index result_in_review on result (review_state, computed_at, result_id) where released_at is not null;

-- The objects that a review made, beside those of the result itself.
alter table artifact add column review_id text references review;
