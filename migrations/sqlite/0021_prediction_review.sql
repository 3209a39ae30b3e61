-- What people said about predictions. Rows are added, never edited: the last one counts.
create table prediction_review (
    review_id     integer primary key autoincrement,
    prediction_id integer not null references prediction,
    at            integer not null,
    actor         text    not null,
    -- The account, when a doctor said it.
    doctor        text,
    request_id    text,
    correct       integer not null check (correct in (0, 1)),
    actual_class  text,
    feedback      text
) strict;

create index prediction_review_of_prediction on prediction_review (prediction_id, review_id);
