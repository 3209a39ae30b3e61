-- The list of studies is paged by what never changes.
create index study_newest on study (first_arrival_at, study_uid);
-- A client may know a series alone.
create index series_by_uid on series (series_uid);
-- Whoever says that a study is whole finds what came of it by the name of that request.
alter table study add column forced_request_id text;
