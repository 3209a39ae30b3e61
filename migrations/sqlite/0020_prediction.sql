-- Answers of tabular models that were asked for a patient: one row for each row that was asked.
create table prediction (
    prediction_id integer primary key autoincrement,
    -- Rows of one request share it.
    call_id       text    not null,
    row_number    integer not null check (row_number > 0),
    at            integer not null,
    model_id      text    not null,
    model_version text    not null,
    model_digest  text    not null,
    -- What the caller called the model.
    model_name    text    not null,
    -- The caller's word for the patient; that it is a DICOM patient is never guessed.
    patient_id    text    not null,
    doctor        text,
    actor         text    not null,
    request_id    text,
    input         text    not null,
    label         integer check (label in (0, 1)),
    answer        text    not null,
    unique (call_id, row_number)
) strict;

create index prediction_of_patient on prediction (patient_id, prediction_id);
create index prediction_of_model on prediction (model_id, prediction_id);
create index prediction_by_actor on prediction (actor, prediction_id);
