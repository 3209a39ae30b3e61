-- The list of studies is paged by what never changes.
create index study_newest on study (first_arrival_at, study_uid);
-- A client may know a series alone.
create index series_by_uid on series (series_uid);
