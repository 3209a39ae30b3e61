-- The list of studies is paged by what never changes.
create index study_newest on study (first_arrival_at, study_uid);
